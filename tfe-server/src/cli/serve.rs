//! `tfe-server serve`.

use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::{Failure, options::ServeOptions};

/// Serves until the process is asked to end.
#[expect(clippy::print_stderr, reason = "the binary owns the terminal")]
pub(crate) async fn run(options: ServeOptions) -> Result<ExitCode, Failure> {
    let server = options.builder()?.build().await?;
    let listener = options.listener().await?;
    let scheme = if options.tls() { "https" } else { "http" };
    eprintln!("serving {scheme}://{}", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    tokio::spawn(ended(shutdown.clone()));
    server.serve(listener, options.acceptor()?, shutdown).await?;
    Ok(ExitCode::SUCCESS)
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
