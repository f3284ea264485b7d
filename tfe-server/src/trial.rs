//! An installation in memory, for tests of what services promise: one organization, and as many workspaces and runs as a test wants.
//!
//! Its time is tokio's, so a test with a paused clock waits for nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use object_store::memory::InMemory;
use serde_json::json;
use tfe_core::{
    configuration::{ConfigurationVersion, UploadStatus},
    id::Id,
    job::Job,
    jsonapi,
    organization::{Organization, Project, ProjectSettings},
    plan::Summary,
    record::{Kind, Record},
    run::{Run, RunOptions},
    secret::Sealed,
    time::{Clock, Timestamp},
    workspace::{Workspace, WorkspaceSettings},
};
use tfe_queue::{MemoryCoordination, MemoryQueue};
use tfe_runner::{
    control::{Control, ControlError, Ticket},
    job::{Assignment, Outcome, RunnerInfo},
};
use tfe_storage::{
    Batch, Blobs, MemoryStore, Page, Query, Result, Store, StoreExt, StoredRecord, Vault, VaultError, Versioned, View, Write,
};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    app::{App, Parts, Settings},
    health::Health,
    http::signed::Signer,
    metrics::Metrics,
    service::{control::LocalControl, runs, waiting::Orders},
    simulation::vault::OpenVault,
    system::SystemEntropy,
};

/// When it begins, in milliseconds since 1970.
const BEGINNING: i64 = 1_700_000_000_000;

/// The installation.
pub(crate) struct Trial {
    pub(crate) app: App,
    pub(crate) store: Arc<CountingStore>,
    pub(crate) vault: Arc<ClosingVault>,
    organization: Id<Organization>,
    project: Id<Project>,
}

impl Trial {
    pub(crate) async fn new() -> Self {
        let (store, vault) = (Arc::new(CountingStore::default()), Arc::new(ClosingVault::default()));
        let clock = Arc::new(TrialClock(Instant::now()));
        let app = App::new(Parts {
            store: store.clone(),
            blobs: Blobs::new(Arc::new(InMemory::new()), vault.clone()),
            vault: vault.clone(),
            queue: Arc::new(MemoryQueue::new()),
            coordination: Arc::new(MemoryCoordination::new()),
            started_at: clock.now(),
            clock,
            entropy: Arc::new(SystemEntropy),
            health: Health::new(None),
            metrics: Metrics::default(),
            orders: Orders::default(),
            snapshots: None,
            signer: Signer::new(&[0; 32]),
            settings: Settings::default(),
        });
        let trial = Self { organization: app.new_id(), project: app.new_id(), app, store, vault };
        let (organization, project) = trial.place(&trial.organization, &trial.project, "acme");
        trial.commit(Batch::new().insert(&organization).insert(&project)).await;
        trial
    }

    fn place(&self, id: &Id<Organization>, project: &Id<Project>, name: &str) -> (Organization, Project) {
        let settings = jsonapi::attributes(&json!({ "name": name, "email": "a@b" })).unwrap();
        let organization = Organization { id: id.clone(), created_at: self.app.now(), settings };
        let settings = ProjectSettings { name: "project".to_owned(), description: None };
        let (created_at, organization_id) = (self.app.now(), id.clone());
        (organization, Project { id: project.clone(), created_at, organization_id, is_default: true, settings })
    }

    pub(crate) async fn commit(&self, batch: Batch) {
        self.app.store.commit(batch).await.unwrap();
    }

    /// Writes a record of the kind that this program cannot read.
    pub(crate) async fn damaged<T: Record>(&self, body: serde_json::Value) {
        let id = self.app.new_id::<Run>().to_string();
        let record = StoredRecord { id, created_at: self.app.now(), version: tfe_storage::FIRST_VERSION, body };
        self.commit(Batch::new().with(Write::Insert(T::KIND, record))).await;
    }

    pub(crate) async fn find<T: Record>(&self, id: &Id<T>) -> Versioned<T> {
        self.app.store.find(id.as_str()).await.unwrap().expect("it is there")
    }

    /// A new workspace.
    pub(crate) async fn workspace(&self, name: &str) -> Id<Workspace> {
        let settings: WorkspaceSettings = jsonapi::attributes(&json!({ "name": name })).unwrap();
        let workspace = Workspace {
            id: self.app.new_id(),
            created_at: self.app.now(),
            updated_at: self.app.now(),
            organization_id: self.organization.clone(),
            project_id: self.project.clone(),
            settings,
            tags: Vec::new(),
            tag_index: String::new(),
            lock: None,
            current_run_id: None,
            latest_run_id: None,
            run_count: 0,
            current_state_version_id: None,
            resource_count: 0,
        };
        let configuration = ConfigurationVersion {
            id: configuration_of(&workspace.id),
            created_at: self.app.now(),
            workspace_id: workspace.id.clone(),
            status: UploadStatus::Uploaded,
            auto_queue_runs: false,
            speculative: false,
            provisional: false,
            branch: None,
            source: "tfe-api".to_owned(),
            archive: None,
            error: None,
            uploaded_at: None,
        };
        self.commit(Batch::new().insert(&workspace).insert(&configuration)).await;
        workspace.id
    }

    /// Queues a run as clients do.
    pub(crate) async fn queue(&self, workspace: &Id<Workspace>, options: RunOptions) -> Versioned<Run> {
        let new = runs::NewRun {
            configuration: configuration_of(workspace),
            options,
            variables: Vec::new(),
            message: String::new(),
            source: "tfe-api".to_owned(),
            created_by: None,
        };
        runs::create(&self.app, workspace, new).await.unwrap()
    }

    pub(crate) fn control(&self) -> LocalControl {
        LocalControl::new(self.app.clone())
    }

    /// Takes a job, if there is one for the fleet.
    pub(crate) async fn claim(&self) -> std::result::Result<Option<Assignment>, ControlError> {
        let runner = RunnerInfo { name: "runner".to_owned(), concurrency: 4, ..RunnerInfo::default() };
        self.control().claim(&runner, Duration::ZERO).await
    }

    /// A run whose plan is made and whose apply has begun.
    pub(crate) async fn applying(&self, workspace: &Id<Workspace>) -> (Versioned<Run>, Ticket) {
        let run = self.queue(workspace, RunOptions { auto_apply: true, ..RunOptions::default() }).await;
        let plan = ticket(&self.claim().await.unwrap().expect("the plan is queued"));
        let summary = Summary { has_changes: true, ..Summary::default() };
        self.control().report(&plan, Outcome::Planned { summary }).await.unwrap();
        let apply = ticket(&self.claim().await.unwrap().expect("the apply is queued"));
        (self.find(&run.id).await, apply)
    }

    pub(crate) async fn job(&self, ticket: &Ticket) -> Versioned<Job> {
        self.find(&ticket.job).await
    }
}

/// What goes with the calls about a job.
pub(crate) fn ticket(assignment: &Assignment) -> Ticket {
    Ticket { job: assignment.job.clone(), fencing_token: assignment.fencing_token, run_token: assignment.run_token.clone() }
}

fn configuration_of(workspace: &Id<Workspace>) -> Id<ConfigurationVersion> {
    Id::from(format!("cv-{workspace}"))
}

#[derive(Debug)]
struct TrialClock(Instant);

impl Clock for TrialClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGINNING + i64::try_from(self.0.elapsed().as_millis()).expect("tests are short"))
    }
}

/// Counts the records that it is asked for.
#[derive(Debug, Default)]
pub(crate) struct CountingStore {
    inner: MemoryStore,
    pub(crate) read: AtomicU64,
}

#[async_trait]
impl Store for CountingStore {
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>> {
        self.read.fetch_add(1, Relaxed);
        self.inner.get(kind, id).await
    }

    async fn query(&self, query: &Query) -> Result<Page> {
        let page = self.inner.query(query).await?;
        self.read.fetch_add(page.items.len() as u64, Relaxed);
        Ok(page)
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        self.inner.commit(batch).await
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.inner.view().await
    }
}

/// A vault that can be away.
#[derive(Debug, Default)]
pub(crate) struct ClosingVault {
    pub(crate) is_away: AtomicBool,
}

impl ClosingVault {
    fn open_door(&self) -> std::result::Result<OpenVault, VaultError> {
        if self.is_away.load(Relaxed) { Err(VaultError::Unavailable("it is sealed".into())) } else { Ok(OpenVault) }
    }
}

#[async_trait]
impl Vault for ClosingVault {
    async fn seal(&self, context: &str, plain: &[u8]) -> std::result::Result<Sealed, VaultError> {
        self.open_door()?.seal(context, plain).await
    }

    async fn open(&self, context: &str, sealed: &Sealed) -> std::result::Result<Zeroizing<Vec<u8>>, VaultError> {
        self.open_door()?.open(context, sealed).await
    }

    async fn rewrap(&self, context: &str, sealed: &Sealed) -> std::result::Result<Option<Sealed>, VaultError> {
        self.open_door()?.rewrap(context, sealed).await
    }

    async fn rotate(&self) -> std::result::Result<u32, VaultError> {
        self.open_door()?.rotate().await
    }
}
