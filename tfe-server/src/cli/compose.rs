//! From a configuration to a server.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};
use tfe_core::time::Clock;
use tfe_runner::{
    Courier, IsolationConfig, Letter, RunnerConfig, Timeouts,
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
/// How long one node of several may be gone until its applies are interrupted: longer than a restart takes, and well within the minute
/// after which the others free their workspaces.
const NODE_PATIENCE: Duration = Duration::from_secs(30);
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
    let builder = if configuration.workers.is_embedded { builder.runner(embedded_runner(configuration, node)?) } else { builder };
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

/// The runner of a server. A server alone comes back to its jobs, which go on until then. One of several may not, and the others free its
/// workspaces, so its applies are interrupted before that, and brought home through the others where workers can reach them.
fn embedded_runner(configuration: &Configuration, name: String) -> Result<RunnerConfig, Failure> {
    let config = runner(configuration, name, own_address(configuration))?;
    if configuration.mode != Mode::External {
        return Ok(config);
    }
    let command = vec![std::env::current_exe()?.into_os_string(), OsString::from("courier")];
    let (work_root, spool_root) = (std::path::absolute(&config.work_root)?, std::path::absolute(&config.spool_root)?);
    let letter = configuration.public_url.clone().zip(configuration.workers.token.clone()).map(|(url, token)| Letter {
        name: config.name.clone(),
        work_root,
        spool_root,
        servers: vec![url],
        token,
        authorities: authority(configuration)
            .iter()
            .chain(&configuration.workers.authority)
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .collect(),
        job: String::new(),
    });
    Ok(RunnerConfig { courier: Some(Courier { command, letter, patience: NODE_PATIENCE }), ..config })
}

/// How a runner of that name works here. `servers` are where its runs reach the installation, as host and port.
pub(crate) fn runner(
    configuration: &Configuration,
    name: String,
    servers: impl IntoIterator<Item = String>,
) -> Result<RunnerConfig, Failure> {
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
        isolation: isolation(configuration, servers.into_iter().collect()),
    })
}

fn isolation(configuration: &Configuration, servers: Vec<String>) -> IsolationConfig {
    let runs = &configuration.runs;
    let chosen = if runs.isolated { IsolationConfig::default() } else { IsolationConfig::none() };
    // Runs read other workspaces' outputs and modules from here.
    let network = Network { allowed: servers, ..chosen.network };
    IsolationConfig { limits: Limits { memory_bytes: runs.memory_bytes, ..chosen.limits }, network, ..chosen }
}

/// Where clients reach this server, as host and port, if that is known before it listens.
fn own_address(configuration: &Configuration) -> Option<String> {
    match &configuration.public_url {
        Some(url) => address_of(url),
        None => (configuration.listen.port() != 0).then(|| configuration.listen.to_string()),
    }
}

/// The host and port of a URL.
pub(crate) fn address_of(url: &str) -> Option<String> {
    let url = url::Url::parse(url).ok()?;
    Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
}

/// A directory of its own for each data directory, in memory where that is possible.
fn default_work_root(data_directory: &Path) -> PathBuf {
    let absolute = std::path::absolute(data_directory).unwrap_or_else(|_| data_directory.to_owned());
    let digest = Sha256::digest(absolute.as_os_str().as_encoded_bytes());
    let name = digest.iter().take(6).fold(String::from("tfe-work-"), |text, byte| text + &format!("{byte:02x}"));
    let memory = Path::new(MEMORY_DIRECTORY);
    if memory.is_dir() { memory.join(name) } else { std::env::temp_dir().join(name) }
}

#[cfg(test)]
mod tests {
    use tfe_core::job::{APPLY_GRACE_SECONDS, LEASE_SECONDS};
    use tfe_server::configuration::Sources;

    use super::*;

    const EXTERNAL: [(&str, &str); 10] = [
        ("TFE_OPERATIONAL_MODE", "external"),
        ("TFE_DATABASE_HOST", "db.example.com"),
        ("TFE_DATABASE_USER", "tfe"),
        ("TFE_DATABASE_PASSWORD", "password"),
        ("TFE_OBJECT_STORAGE_TYPE", "s3"),
        ("TFE_OBJECT_STORAGE_S3_BUCKET", "bucket"),
        ("TFE_OBJECT_STORAGE_S3_REGION", "eu-west-1"),
        ("TFE_OBJECT_STORAGE_S3_ACCESS_KEY_ID", "key"),
        ("TFE_OBJECT_STORAGE_S3_SECRET_ACCESS_KEY", "secret"),
        ("TFE_ENCRYPTION_PASSWORD", "password"),
    ];
    const REACHABLE: [(&str, &str); 2] = [("TFE_HOSTNAME", "tfe.example.com"), ("TFE_WORKER_TOKEN", "planted")];

    fn courier(settings: &[(&str, &str)]) -> Option<Courier> {
        let environment = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let configuration = Configuration::read(&Sources { environment, ..Sources::default() }, &|_| Ok(String::new())).unwrap();
        embedded_runner(&configuration, "node".to_owned()).unwrap().courier
    }

    #[test]
    fn only_one_node_of_several_lets_its_applies_be_brought_home() {
        assert!(courier(&REACHABLE).is_none(), "a server alone comes back to them");
        let unreachable = courier(&EXTERNAL).expect("applies are interrupted");
        assert!(unreachable.letter.is_none());
        let freed = Duration::from_secs((LEASE_SECONDS + APPLY_GRACE_SECONDS).unsigned_abs());
        assert!(unreachable.patience * 2 < freed, "there is time to save before the workspace is freed");
        let letter = courier(&[EXTERNAL.as_slice(), &REACHABLE].concat()).unwrap().letter.expect("somebody can be sent");
        assert_eq!((letter.name.as_str(), letter.servers), ("node", vec!["https://tfe.example.com".to_owned()]));
    }
}
