//! `tfe-server serve`.

use std::{
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use tfe_server::{App, configuration::Configuration, initial_admin_token};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Failure, compose, options::ServeOptions};

/// The file in the data directory with the token that allows to create the first administrator.
pub(crate) const INITIAL_ADMIN_TOKEN: &str = "initial-admin-token";

/// Serves until the process is asked to end.
#[expect(clippy::print_stderr, reason = "the binary owns the terminal")]
pub(crate) async fn run(options: ServeOptions) -> Result<ExitCode, Failure> {
    let configuration = options.read(&[]).await?;
    let server = compose::server(&configuration).await?;
    offer_initial_admin(server.app(), &configuration).await?;
    let listener = compose::listener(&configuration).await?;
    let scheme = if compose::is_encrypted(&configuration) { "https" } else { "http" };
    eprintln!("serving {scheme}://{}", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    if let Some(port) = configuration.metrics_port {
        let address = SocketAddr::new(configuration.listen.ip(), port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            format!("{address} cannot be listened on for metrics: {error}; choose another port with TFE_METRICS_HTTP_PORT")
        })?;
        server.serve_metrics(listener, shutdown.clone());
    }
    tokio::spawn(ended(shutdown.clone()));
    server.serve(listener, compose::acceptor(&configuration)?, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

/// As long as there is no user, whoever can read the data directory may create the first one.
async fn offer_initial_admin(app: &App, configuration: &Configuration) -> Result<(), Failure> {
    let path = configuration.data_directory.join(INITIAL_ADMIN_TOKEN);
    match initial_admin_token(app).await? {
        Some(token) => write_private(&path, token.expose()),
        None => match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        },
    }
}

fn write_private(path: &Path, content: &str) -> Result<(), Failure> {
    let draft: PathBuf = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content.as_bytes())?;
    Ok(std::fs::rename(&draft, path)?)
}

/// Cancels the token when the process is asked to end, by a terminal or a supervisor.
pub(crate) async fn ended(token: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
    token.cancel();
}
