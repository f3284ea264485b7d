//! The parts of a running system, in one handle that every handler and loop holds.

use std::{fmt, ops::Deref, path::PathBuf, sync::Arc, time::Duration};

use tfe_core::{
    id::{Entropy, Id, Identified},
    secret::Secret,
    subnet::Subnet,
    time::{Clock, Timestamp},
};
use tfe_queue::{Coordination, Queue};
use tfe_storage::{Blobs, Store, Vault};

use crate::{health::Health, http::signed::Signer, metrics::Metrics, service::waiting::Orders, snapshots::Snapshots};

/// A cheap handle to the parts of the system.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts.
#[expect(missing_debug_implementations, reason = "not all parts can be printed; App prints those that can")]
pub struct Parts {
    /// Records: the truth.
    pub store: Arc<dyn Store>,
    /// Large content.
    pub blobs: Blobs,
    /// Secrets.
    pub vault: Arc<dyn Vault>,
    /// Hints to background loops.
    pub queue: Arc<dyn Queue>,
    /// Wake-ups for those who wait for a change, and counts, over all nodes.
    pub coordination: Arc<dyn Coordination>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance for ids and tokens.
    pub entropy: Arc<dyn Entropy>,
    /// Whether the parts work.
    pub health: Health,
    /// Figures for Prometheus.
    pub metrics: Metrics,
    /// In which order long queues are worked off.
    pub(crate) orders: Orders,
    /// Makes addresses that need no token.
    pub(crate) signer: Signer,
    /// Snapshots, if they are taken.
    pub snapshots: Option<Snapshots>,
    /// What the operator chose.
    pub settings: Settings,
    /// When this process began.
    pub started_at: Timestamp,
}

/// What the operator of a server chose.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This node's name, in readiness and as the holder of jobs' leases; the same after a restart.
    pub node: String,
    /// What workers of the installation on other machines join with; none to take none.
    pub worker_token: Option<Secret>,
    /// How many requests of the API one caller may make in a second; none for any number.
    pub rate_limit: Option<u64>,
    /// The directory that must not run full; none where nothing is stored on a disk of this node.
    pub watched_directory: Option<PathBuf>,
    /// Who may create the first administrator without a browser.
    pub initial_admin: InitialAdmin,
    /// What was configured, with secrets hidden, for whoever helps.
    pub configuration: Vec<crate::configuration::Shown>,
    /// Under which URL clients reach the server; none to take it from each request.
    pub public_url: Option<String>,
    /// Whether connections are encrypted here, so that a URL taken from a request begins with `https`.
    pub tls: bool,
    /// Largest configuration archive.
    pub max_configuration_bytes: u64,
    /// Largest state.
    pub max_state_bytes: u64,
    /// How long an upload may be silent: longer than any hiccup of a network, short enough that stalled clients do not
    /// pile up.
    pub max_upload_silence: Duration,
}

/// Who may create the first administrator, as long as there is no user
/// (Terraform Enterprise, "Initial Admin Creation Token").
#[derive(Debug, Clone)]
pub struct InitialAdmin {
    /// The token that allows it; none for one that is derived from the installation's key, so that all nodes agree.
    pub token: Option<Secret>,
    /// From where the token may be fetched over HTTP; empty for nowhere.
    pub subnets: Vec<Subnet>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Subnet>,
    /// How long after the start it may be fetched and used.
    pub time_limit: Duration,
}

impl Default for InitialAdmin {
    fn default() -> Self {
        let time_limit = Duration::from_hours(1);
        Self { token: None, subnets: Vec::new(), trusted_proxies: Vec::new(), time_limit }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: "node".to_owned(),
            worker_token: None,
            rate_limit: None,
            watched_directory: None,
            initial_admin: InitialAdmin::default(),
            configuration: Vec::new(),
            public_url: None,
            tls: false,
            max_configuration_bytes: 512 << 20,
            max_state_bytes: 512 << 20,
            max_upload_silence: Duration::from_secs(30),
        }
    }
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new id.
    pub fn new_id<T: Identified>(&self) -> Id<T> {
        Id::generate(self.entropy.as_ref())
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("store", &self.store).field("settings", &self.settings).finish_non_exhaustive()
    }
}
