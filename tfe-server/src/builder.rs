//! Composing a server from its parts.

use std::{path::PathBuf, sync::Arc};

use tfe_core::{id::Entropy, time::Clock};
use tfe_queue::{Coordination, Queue};
use tfe_runner::{Runner, RunnerConfig};
use tfe_storage::{Blobs, Store, Vault};

use crate::{
    app::{App, Parts, Settings},
    backends::{Backends, OpenError},
    brokers::Brokers,
    embedded::{DirectoryLock, KeySource},
    error::{ApiError, chain},
    health::Health,
    http::signed::Signer,
    metrics::{MeasuredStore, MeasuredVault, Metrics},
    server::Server,
    service::{self, control::LocalControl, setup, waiting::Orders},
    snapshots::Snapshots,
    system::{SystemClock, SystemEntropy},
};

/// Composes a [`Server`]. Without a word it keeps everything below `./tfe-data`.
///
/// Records, blobs and vault belong together: give all three, or none and a data directory.
#[derive(Debug, Default)]
pub struct ServerBuilder {
    data_directory: Option<PathBuf>,
    key: Option<KeySource>,
    store: Option<Arc<dyn Store>>,
    blobs: Option<Blobs>,
    vault: Option<Arc<dyn Vault>>,
    lock: Option<DirectoryLock>,
    queue: Option<Arc<dyn Queue>>,
    coordination: Option<Arc<dyn Coordination>>,
    brokers: Brokers,
    clock: Option<Arc<dyn Clock>>,
    entropy: Option<Arc<dyn Entropy>>,
    runner: Option<RunnerConfig>,
    snapshots: Option<Snapshots>,
    settings: Settings,
}

/// Why a server could not be composed.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Some of what belongs together is missing.
    #[error("records, blobs and vault belong together, but these are missing: {0}; give all three or only a data directory")]
    Missing(String),
    /// Something that data is in does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The first records cannot be read or made.
    #[error("the installation cannot be opened: {0}")]
    Installation(String),
    /// The address of a broker is wrong.
    #[error("the broker of {0} cannot be used: {1}")]
    Broker(&'static str, #[source] tfe_queue::OpenError),
}

/// Records, blobs, vault, and the lock of the directory they are in.
type Storage = (Arc<dyn Store>, Blobs, Arc<dyn Vault>, Option<DirectoryLock>);

impl ServerBuilder {
    /// Where the embedded store, blobs and keyring are. Default: `./tfe-data`.
    #[must_use]
    pub fn data_directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_directory = Some(path.into());
        self
    }

    /// What opens the embedded keyring. Default: the file `<data directory>.key` beside the data directory.
    #[must_use]
    pub fn key(mut self, key: KeySource) -> Self {
        self.key = Some(key);
        self
    }

    /// Keeps records here.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Keeps large content here.
    #[must_use]
    pub fn blobs(mut self, blobs: Blobs) -> Self {
        self.blobs = Some(blobs);
        self
    }

    /// Seals secrets with this.
    #[must_use]
    pub fn vault(mut self, vault: Arc<dyn Vault>) -> Self {
        self.vault = Some(vault);
        self
    }

    /// Keeps records, large content and secrets in these, and holds their lock.
    #[must_use]
    pub fn backends(mut self, backends: Backends) -> Self {
        self.lock = backends.lock;
        self.store(backends.store).blobs(backends.blobs).vault(backends.vault)
    }

    /// Sends hints through this. Default: what the [brokers](Self::brokers) say.
    #[must_use]
    pub fn queue(mut self, queue: Arc<dyn Queue>) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Wakes waiting requests and counts through this. Default: what the [brokers](Self::brokers) say.
    #[must_use]
    pub fn coordination(mut self, coordination: Arc<dyn Coordination>) -> Self {
        self.coordination = Some(coordination);
        self
    }

    /// The services that nodes talk through. Default: none, and memory.
    #[must_use]
    pub fn brokers(mut self, brokers: Brokers) -> Self {
        self.brokers = brokers;
        self
    }

    /// Tells the time by this. Default: the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Draws ids and tokens from this. Default: the operating system.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = Some(entropy);
        self
    }

    /// Runs jobs in this process. Default: no runner, and runs wait for one.
    #[must_use]
    pub fn runner(mut self, config: RunnerConfig) -> Self {
        self.runner = Some(config);
        self
    }

    /// Takes snapshots. Default: none are taken.
    #[must_use]
    pub fn snapshots(mut self, snapshots: Snapshots) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    /// What the operator chose.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Opens what is to be opened and puts the parts together. Nothing runs yet.
    pub async fn build(mut self) -> Result<Server, BuildError> {
        let (store, blobs, vault, lock) = self.storage().await?;
        let metrics = Metrics::default();
        let store: Arc<dyn Store> = Arc::new(MeasuredStore(store, metrics.clone()));
        let vault: Arc<dyn Vault> = Arc::new(MeasuredVault(vault, metrics.clone()));
        let blobs = blobs.observed(vault.clone(), Arc::new(metrics.clone()));
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let entropy = self.entropy.unwrap_or_else(|| Arc::new(SystemEntropy));
        let opened = setup::installation(store.as_ref(), vault.as_ref(), clock.as_ref(), entropy.as_ref()).await;
        let (installation, signing_key) = opened.map_err(|error: ApiError| BuildError::Installation(chain(&error)))?;
        let queue = match self.queue {
            Some(queue) => queue,
            None => self.brokers.queue(&installation.name).map_err(|error| BuildError::Broker("hints", error))?,
        };
        let coordination = match self.coordination {
            Some(coordination) => coordination,
            None => self.brokers.coordination(&installation.name).map_err(|error| BuildError::Broker("signals", error))?,
        };
        let health = Health::new(self.settings.watched_directory.clone());
        let started_at = clock.now();
        let app = App::new(Parts {
            store,
            blobs,
            vault,
            queue,
            coordination,
            clock,
            entropy,
            health,
            metrics,
            orders: Orders::default(),
            signer: Signer::new(&signing_key),
            snapshots: self.snapshots,
            settings: self.settings,
            started_at,
        });
        let settled = service::restored::settle(&app).await;
        settled.map_err(|error| BuildError::Installation(format!("what was in flight before the restore: {}", chain(&error))))?;
        let runner = self.runner.map(|config| Runner::new(config, Arc::new(LocalControl::new(app.clone()))));
        Ok(Server::new(app, runner, lock))
    }

    async fn storage(&mut self) -> Result<Storage, BuildError> {
        match (self.store.take(), self.blobs.take(), self.vault.take()) {
            (Some(store), Some(blobs), Some(vault)) => Ok((store, blobs, vault, self.lock.take())),
            (None, None, None) => {
                let directory = self.data_directory.take().unwrap_or_else(|| PathBuf::from("tfe-data"));
                let key = self.key.take().unwrap_or_else(|| KeySource::File(directory.with_extension("key")));
                let Backends { store, vault, blobs, lock, .. } = Backends::embedded(&directory, key).await?;
                Ok((store, blobs, vault, lock))
            }
            (store, blobs, vault) => {
                let missing = [("store", store.is_none()), ("blobs", blobs.is_none()), ("vault", vault.is_none())];
                let missing: Vec<_> = missing.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| name).collect();
                Err(BuildError::Missing(missing.join(", ")))
            }
        }
    }
}
