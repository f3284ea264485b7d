//! From a configuration to a server.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use tfe_core::time::Clock;
use tfe_runner::{
    IsolationConfig, RunnerConfig, Timeouts,
    isolation::{Limits, Network},
};
use tfe_server::{
    Backends, Server, Settings, SystemClock, SystemEntropy,
    configuration::{Configuration, Mode, RestoreChoice},
    embedded::DirectoryLock,
    snapshots::{RestoreOnBoot, Snapshots, kinds, restore_on_boot},
    tls,
};
use tfe_storage::{migrate::Place, snapshot::JournaledStore};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Failure, progress::Shown, snapshot::keep_configuration};

/// Where to look for memory-backed directories: runs hold secrets in clear while they work, and these never reach a disk.
const MEMORY_DIRECTORY: &str = "/dev/shm";
/// The name of the one node of an installation in a directory.
const ONLY_NODE: &str = "embedded";
/// The names for which a certificate is made on the spot.
const LOCAL_NAMES: [&str; 4] = ["localhost", "tfe.localhost", "127.0.0.1", "::1"];

/// The server that the configuration describes, with the lock of its data directory; nothing runs yet.
pub(crate) async fn server(configuration: &Configuration, lock: DirectoryLock) -> Result<Server, Failure> {
    let backends = Backends::open_locked(configuration, lock).await?;
    let node = node_name(configuration)?;
    let (backends, snapshots) = with_snapshots(configuration, backends, &node).await?;
    let settings = Settings {
        node: node.clone(),
        rate_limit: configuration.rate_limit,
        worker_token: configuration.workers.token.clone(),
        watched_directory: Some(configuration.data_directory.clone()),
        initial_admin: configuration.initial_admin.clone(),
        configuration: configuration.shown().to_vec(),
        public_url: configuration.public_url.clone(),
        tls: is_encrypted(configuration),
        ..Settings::default()
    };
    let builder = Server::builder().backends(backends).brokers(configuration.brokers.clone()).settings(settings);
    let builder = if configuration.workers.is_embedded { builder.runner(runner(configuration, node)?) } else { builder };
    let builder = if let Some(snapshots) = snapshots { builder.snapshots(snapshots) } else { builder };
    Ok(builder.build().await?)
}

/// Restores the newest snapshot where there is no data, and prepares to take new ones.
async fn with_snapshots(configuration: &Configuration, backends: Backends, node: &str) -> Result<(Backends, Option<Snapshots>), Failure> {
    let settings = &configuration.snapshots;
    if settings.objects.is_none() {
        return Ok((backends, None));
    }
    let place =
        |backends: &Backends| Place { store: backends.store.clone(), objects: backends.objects.clone(), vault: backends.vault.clone() };
    if settings.restore_on_boot != RestoreChoice::Never {
        let mut shown = Shown::new();
        let found = restore_on_boot(settings, &place(&backends), node, &mut shown.snapshot()).await;
        shown.end();
        if let RestoreOnBoot::Restored(restored) = found? {
            let kept = keep_configuration(configuration, &restored).unwrap_or_else(|error| {
                tracing::error!(%error, "the configuration of the snapshot could not be kept");
                None
            });
            let (snapshot, reached) = (&restored.snapshot.id, restored.reached);
            tracing::warn!(snapshot, %reached, configuration = kept, "there was no data here; a snapshot was restored");
        }
    }
    // Others write to a shared database too, and their commits are not seen here.
    let is_alone = configuration.database.is_none();
    let journal = (settings.continuous && is_alone).then(|| {
        let stream = format!("{}-{}", SystemClock.now().as_millis(), tfe_core::id::random_text(&SystemEntropy, 8).to_lowercase());
        Arc::new(JournaledStore::new(backends.store.clone(), kinds(), Arc::new(SystemClock), stream))
    });
    let backends = match &journal {
        Some(journal) => Backends { store: journal.clone(), ..backends },
        None => backends,
    };
    let snapshots = Snapshots::new(configuration, place(&backends), journal);
    Ok((backends, snapshots))
}

/// The listening socket.
pub(crate) async fn listener(configuration: &Configuration) -> Result<TcpListener, Failure> {
    let address = configuration.listen;
    TcpListener::bind(address).await.map_err(|error| {
        format!("{address} cannot be listened on: {error}; choose another address with --listen, port 0 for a free one").into()
    })
}

/// The certificate, if connections are encrypted.
pub(crate) fn acceptor(configuration: &Configuration) -> Result<Option<TlsAcceptor>, Failure> {
    match &configuration.tls.certificate {
        Some((certificate, key)) => Ok(Some(tls::acceptor(certificate, key)?)),
        None if configuration.tls.self_made => {
            let names = LOCAL_NAMES.map(str::to_owned);
            Ok(Some(tls::self_made(&configuration.tls_directory(), &names)?))
        }
        None => Ok(None),
    }
}

/// Whether connections are encrypted.
pub(crate) fn is_encrypted(configuration: &Configuration) -> bool {
    configuration.tls.self_made || configuration.tls.certificate.is_some()
}

/// The authority that clients must trust, if the certificate was made on the spot.
pub(crate) fn authority(configuration: &Configuration) -> Option<PathBuf> {
    let is_made = configuration.tls.self_made && configuration.tls.certificate.is_none();
    is_made.then(|| configuration.tls_directory().join("ca.pem"))
}

/// As given, or kept in the data directory: jobs are leased to it, so it must outlive a restart and be this node's alone.
pub(crate) fn node_name(configuration: &Configuration) -> Result<String, Failure> {
    if let Some(name) = &configuration.node {
        return Ok(name.clone());
    }
    if configuration.mode != Mode::External {
        return Ok(ONLY_NODE.to_owned());
    }
    kept_name(&configuration.data_directory, "node")
}

/// A name of that kind, made at the first start and kept in the data directory.
pub(crate) fn kept_name(data_directory: &Path, kind: &str) -> Result<String, Failure> {
    let path = data_directory.join(kind);
    if let Ok(name) = std::fs::read_to_string(&path)
        && !name.trim().is_empty()
    {
        return Ok(name.trim().to_owned());
    }
    let name = format!("{kind}-{}", tfe_core::id::random_text(&tfe_server::SystemEntropy, 8).to_lowercase());
    let draft = path.with_extension("new");
    std::fs::write(&draft, format!("{name}\n"))?;
    std::fs::rename(&draft, &path)?;
    Ok(name)
}

/// How a runner of that name works here.
pub(crate) fn runner(configuration: &Configuration, name: String) -> Result<RunnerConfig, Failure> {
    let program = std::env::current_exe()?;
    let runs = &configuration.runs;
    let cli_config = runs.cli_config.as_ref().map(std::fs::read_to_string).transpose();
    let cli_config = cli_config.map_err(|error| format!("the CLI configuration for runs cannot be read: {error}"))?;
    Ok(RunnerConfig {
        name,
        work_root: runs.work_directory.clone().unwrap_or_else(|| default_work_root(&configuration.data_directory)),
        spool_root: configuration.data_directory.join("spool"),
        supervisor: vec![program.into_os_string(), OsString::from("supervise")],
        tool_paths: runs.tools_directories.clone(),
        tools: runs.tools.clone(),
        cli_config,
        plugins: runs.keeps_plugins.then(|| configuration.data_directory.join("plugins")),
        concurrency: runs.concurrency,
        courier: None,
        timeouts: Timeouts { plan: runs.plan_timeout, apply: runs.apply_timeout, ..Timeouts::default() },
        isolation: isolation(configuration),
    })
}

fn isolation(configuration: &Configuration) -> IsolationConfig {
    let runs = &configuration.runs;
    let chosen = if runs.isolated { IsolationConfig::default() } else { IsolationConfig::none() };
    // Runs read other workspaces' outputs and modules from here.
    let network = Network { allowed: own_address(configuration).into_iter().collect(), ..chosen.network };
    IsolationConfig { limits: Limits { memory_bytes: runs.memory_bytes, ..chosen.limits }, network, ..chosen }
}

/// Where clients reach the server, as host and port, if that is known before it listens.
fn own_address(configuration: &Configuration) -> Option<String> {
    match &configuration.public_url {
        Some(url) => {
            let url = url::Url::parse(url).ok()?;
            Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
        }
        None => (configuration.listen.port() != 0).then(|| configuration.listen.to_string()),
    }
}

/// A directory of its own for each data directory, in memory where that is possible.
fn default_work_root(data_directory: &Path) -> PathBuf {
    let absolute = std::path::absolute(data_directory).unwrap_or_else(|_| data_directory.to_owned());
    let digest = Sha256::digest(absolute.as_os_str().as_encoded_bytes());
    let name = digest.iter().take(6).fold(String::from("tfe-work-"), |text, byte| text + &format!("{byte:02x}"));
    let memory = Path::new(MEMORY_DIRECTORY);
    if memory.is_dir() { memory.join(name) } else { std::env::temp_dir().join(name) }
}
