//! `tfe-server serve`.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use tfe_server::{
    App, Health, Server,
    configuration::Configuration,
    embedded::DirectoryLock,
    fail_points::{TAKE_OVER_READY, UPGRADE_FINISHED},
    initial_admin_token, watchdog,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{
    Failure, compose,
    handover::{Handover, Inheritance, Predecessor},
    notify,
    options::ServeOptions,
    sockets::{Activated, Sockets, listening},
};

/// The file in the data directory with the token that allows to create the first administrator.
pub(crate) const INITIAL_ADMIN_TOKEN: &str = "initial-admin-token";

/// How often a new snapshot is asked for while the process before this one still answers requests: what it commits is in no journal
/// that follows this process's snapshots, and each snapshot costs a look at all records.
const PREDECESSOR_INTERVAL: Duration = Duration::from_secs(30);

/// A server that could begin at once.
struct Ready {
    server: Server,
    /// What it needs to be there as long as it serves, and what a successor will get.
    inheritance: Inheritance,
    tls: Option<TlsAcceptor>,
    scheme: &'static str,
}

/// Serves until the process is asked to end, or until a successor serves.
pub(crate) async fn run(options: ServeOptions, activated: Activated) -> Result<ExitCode, Failure> {
    // Before another program is put there.
    let binary = std::env::current_exe()?;
    if !options.take_over {
        return serve(Box::pin(notify::starting(prepare(&options, activated, None))).await?, binary).await;
    }
    let (mut predecessor, inheritance) = Predecessor::meet()?;
    let ready = prepare(&options, activated, Some(inheritance)).await;
    predecessor.tell(&ready);
    let ready = ready?;
    TAKE_OVER_READY.reach();
    if let Some(snapshots) = ready.server.app().snapshots.clone() {
        tokio::spawn(async move {
            while tokio::time::timeout(PREDECESSOR_INTERVAL, predecessor.ended()).await.is_err() {
                snapshots.predecessor_may_have_committed();
            }
            snapshots.predecessor_may_have_committed();
        });
    }
    serve(ready, binary).await
}

async fn prepare(options: &ServeOptions, activated: Activated, inherited: Option<Inheritance>) -> Result<Ready, Failure> {
    let configuration = options.read(&[]).await?;
    let directory = &configuration.data_directory;
    let lock = match &inherited {
        Some(inherited) => DirectoryLock::inherit(directory, inherited.lock.try_clone()?)?,
        None => DirectoryLock::acquire(directory)?,
    };
    let kept = lock.duplicate()?;
    let server = compose::server(&configuration, lock).await?;
    offer_initial_admin(server.app(), &configuration).await?;
    let tls = compose::acceptor(&configuration)?;
    let Sockets { main, metrics, control } = match &inherited {
        Some(inherited) => Sockets::inherited(&configuration, inherited).await?,
        None => Sockets::open(&configuration, activated, directory).await?,
    };
    let scheme = if compose::is_encrypted(&configuration) { "https" } else { "http" };
    Ok(Ready { server, inheritance: Inheritance { lock: kept, control, main, metrics }, tls, scheme })
}

#[expect(clippy::print_stderr, reason = "the binary owns the terminal")]
async fn serve(ready: Ready, binary: PathBuf) -> Result<ExitCode, Failure> {
    let Ready { server, inheritance, tls, scheme } = ready;
    let (app, shutdown) = (server.app().clone(), CancellationToken::new());
    let listener = listening(&inheritance.main)?;
    eprintln!("serving {scheme}://{}", listener.local_addr()?);
    if let Some(metrics) = &inheritance.metrics {
        server.serve_metrics(listening(metrics)?, shutdown.clone());
    }
    let health = app.health.clone();
    watchdog::watch(health.clone(), || notify::tell("WATCHDOG=1"));
    let asked = CancellationToken::new();
    tokio::spawn(ended(asked.clone()));
    tokio::spawn(end_when(asked.clone(), shutdown.clone()));
    tokio::spawn(stopping(app.clone(), shutdown.clone()));
    let successor_ended = CancellationToken::new();
    let handover = Handover { app, binary, inheritance, shutdown: shutdown.clone(), successor_ended: successor_ended.clone() };
    tokio::spawn(async move {
        if let Err(error) = handover.offer().await {
            tracing::error!(%error, "upgrades cannot be asked for any more; restart the server to make it possible again");
        }
    });
    notify::tell("READY=1");
    let left = left(asked, successor_ended, shutdown.clone(), health.clone());
    tokio::select! {
        served = server.serve(listener, tls, shutdown) => served?,
        () = left => tracing::warn!("requests that this process had begun were left: it was asked to end, or the one after it has ended"),
    }
    if health.is_handed_over() {
        UPGRADE_FINISHED.reach();
    }
    Ok(ExitCode::SUCCESS)
}

async fn end_when(asked: CancellationToken, shutdown: CancellationToken) {
    asked.cancelled().await;
    shutdown.cancel();
}

/// Returns when a process that has been replaced, and may finish what it has begun for minutes, is asked to end all the same, or when its
/// successor has ended: whoever comes after that one does not know that this one may still write.
async fn left(asked: CancellationToken, successor_ended: CancellationToken, shutdown: CancellationToken, health: Health) {
    shutdown.cancelled().await;
    if !health.is_handed_over() {
        std::future::pending::<()>().await;
    }
    tokio::select! {
        () = asked.cancelled() => {}
        () = successor_ended.cancelled() => {}
    }
}

/// Tells the service manager that the service ends, unless another process goes on with it.
async fn stopping(app: App, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    if !app.health.is_handed_over() {
        notify::tell("STOPPING=1");
    }
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
