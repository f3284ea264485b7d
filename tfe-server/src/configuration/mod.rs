//! What the operator says: from a file, the environment and flags to one typed structure per concern.
//!
//! Reading touches nothing: either everything fits and is here, or all mistakes are, each with what to write instead.

mod read;
mod reader;
mod settings;
mod show;
mod snapshots;
mod sources;

use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tfe_core::{retention::Retention, schedule::Schedule, secret::Secret};
use tfe_runner::tools::ToolSettings;

pub use self::{
    settings::{Form, SETTINGS, Setting},
    show::{Shown, default_file},
    sources::{Source, Sources},
};

/// Everything the server can be told.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// Where data lives.
    pub mode: Mode,
    /// The data directory.
    pub data_directory: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// This node's name, if it was given.
    pub node: Option<String>,
    /// Under which URL clients reach the server, if it was given.
    pub public_url: Option<String>,
    /// The file with the key that opens the keyring, if it was given.
    pub key_file: Option<PathBuf>,
    /// The password that opens the keyring.
    pub encryption_password: Option<Secret>,
    /// Encrypted connections.
    pub tls: Tls,
    /// `PostgreSQL`; none for the embedded store.
    pub database: Option<Database>,
    /// The object store; none for the data directory.
    pub objects: Option<Objects>,
    /// The external vault; none for the keyring.
    pub vault: Option<ExternalVault>,
    /// What this node runs, and how.
    pub runs: Runs,
    /// What nodes talk through.
    pub brokers: crate::Brokers,
    /// How many API requests one caller may make in a second.
    pub rate_limit: Option<u64>,
    /// Workers on other machines.
    pub workers: Workers,
    /// Who may create the first administrator.
    pub initial_admin: crate::InitialAdmin,
    /// Snapshots.
    pub snapshots: SnapshotSettings,
    /// The settings that are not the default, with secrets, as a configuration file.
    pub file: Secret,
    /// Where metrics are served; none for nowhere.
    pub metrics_port: Option<u16>,
    /// What to log.
    pub log: String,
    /// What was said that means nothing.
    pub warnings: Vec<String>,
    shown: Vec<Shown>,
}

/// Where data lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Below the data directory, to try it out.
    Demo,
    /// Below the data directory, which may be a mounted disk.
    Disk,
    /// In services of the operator; nodes keep nothing.
    External,
}

/// Encrypted connections.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Whether a certificate is made on the spot.
    pub self_made: bool,
    /// The certificate chain and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// `PostgreSQL`.
#[derive(Debug, Clone)]
pub struct Database {
    /// The whole address, if it was given as one.
    pub url: Option<Secret>,
    /// The server's host.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// The database.
    pub name: String,
    /// The user.
    pub user: String,
    /// The user's password.
    pub password: Option<Secret>,
    /// Parameters as in a URL.
    pub parameters: String,
    /// The authority that signed the database's certificate.
    pub authority: Option<PathBuf>,
    /// The client certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Connections of this node.
    pub connections: u32,
}

/// The object store, as [`tfe_storage::open_objects`] takes it.
#[derive(Debug, Clone)]
pub struct Objects {
    /// The address.
    pub url: String,
    /// Settings that do not belong into an address.
    pub options: Vec<(String, Secret)>,
}

/// The transit engine of an external vault.
#[derive(Debug, Clone)]
pub struct ExternalVault {
    /// Where it is.
    pub address: String,
    /// The namespace.
    pub namespace: Option<String>,
    /// Where `AppRole` is mounted, with or without `auth/` at the beginning.
    pub login_mount: String,
    /// The role and its secret id, unless there is a token.
    pub role: Option<(String, Secret)>,
    /// The token, unless there is a role.
    pub token: Option<Secret>,
    /// How often the token is renewed at least.
    pub renew_every: Duration,
    /// Where the transit engine is mounted.
    pub mount: String,
    /// The name of the key.
    pub key: String,
    /// The authority that signed the vault's certificate.
    pub authority: Option<PathBuf>,
}

/// What a node runs, and how.
#[derive(Debug, Clone)]
pub struct Runs {
    /// How many at once.
    pub concurrency: usize,
    /// Where they work.
    pub work_directory: Option<PathBuf>,
    /// More places with engines.
    pub tools_directories: Vec<PathBuf>,
    /// Where other engines come from; they are kept below the data directory.
    pub tools: ToolSettings,
    /// A CLI configuration for them.
    pub cli_config: Option<PathBuf>,
    /// Whether they are kept apart from this machine.
    pub isolated: bool,
    /// How much memory each may use, in bytes; 0 for as much as there is.
    pub memory_bytes: u64,
    /// Whether provider plugins are kept.
    pub keeps_plugins: bool,
    /// How long a plan may take.
    pub plan_timeout: Duration,
    /// How long an apply may take.
    pub apply_timeout: Duration,
}

/// Workers on other machines, from both sides.
#[derive(Debug, Clone, Default)]
pub struct Workers {
    /// Whether this server runs jobs itself.
    pub is_embedded: bool,
    /// What the installation's own workers join with.
    pub token: Option<Secret>,
    /// On a worker, the token of its agent pool.
    pub agent_token: Option<Secret>,
    /// On a worker, the servers.
    pub servers: Vec<String>,
    /// On a worker, an authority to trust.
    pub authority: Option<PathBuf>,
}

/// Where snapshots are kept, and when they are taken, tried and removed.
#[derive(Debug, Clone)]
pub struct SnapshotSettings {
    /// Where; none for no snapshots.
    pub objects: Option<Objects>,
    /// What opens the bucket, if that is not what opens the object store of blobs.
    pub keys: Keys,
    /// What seals them; none for the external vault.
    pub password: Option<Secret>,
    /// When they are taken.
    pub schedule: Schedule,
    /// When the newest is restored for trial.
    pub drill: Schedule,
    /// Which are kept.
    pub retention: Retention,
    /// Whether what is committed between them is shipped too.
    pub continuous: bool,
    /// What a start without any data does with them.
    pub restore_on_boot: RestoreChoice,
}

/// What opens buckets, by the kind of store.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// The access key and its secret.
    pub s3: Option<(Secret, Secret)>,
    /// The key of the storage account.
    pub azure: Option<Secret>,
    /// The key of the service account, as JSON.
    pub google: Option<Secret>,
}

/// What a start without any data does with snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreChoice {
    /// It begins a new installation.
    Never,
    /// It restores the newest; where there is none it begins a new installation.
    Newest,
    /// It restores the newest, or fails.
    Required,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The setting, as the operator wrote it.
    pub setting: String,
    /// What is wrong with it, and what is expected.
    pub text: String,
}

/// Everything that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Configuration {
    /// Reads everything that was said. `read_file` reads the files that secrets are in.
    pub fn read(sources: &Sources, read_file: &dyn Fn(&Path) -> io::Result<String>) -> Result<Self, Mistakes> {
        read::read(sources::gather(sources, read_file))
    }

    /// Every setting with its value, secrets hidden, and where it came from.
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// The same for another data directory and key.
    #[must_use]
    pub fn in_directory(self, data_directory: PathBuf, key_file: PathBuf) -> Self {
        Self { data_directory, key_file: Some(key_file), ..self }
    }

    /// The file with the key that opens the keyring: as given, or beside the data directory.
    pub fn key_path(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| beside(&self.data_directory, ".key"))
    }

    /// Where a certificate that is made on the spot is kept. Its key is a key, so it lies beside the data directory.
    pub fn tls_directory(&self) -> PathBuf {
        beside(&self.data_directory, ".tls")
    }
}

/// The path of something whose name is that of a directory and an ending.
fn beside(directory: &Path, ending: &str) -> PathBuf {
    let mut name = directory.components().as_path().as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mistakes = self.0.len();
        write!(f, "the configuration has {mistakes} mistake{}; nothing was started", if mistakes == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|Mistake { setting, text }| write!(f, "\n  {setting} {text}"))
    }
}

impl std::error::Error for Mistakes {}
