//! Why a run waits, for how many others, and what blocks it: whoever looks at a run that does not move can read here what to
//! do about it.

use std::collections::BTreeMap;

use tfe_core::{
    agent::{self, AgentPool},
    id::Id,
    job::{Job, JobStatus, fair_order},
    organization::Organization,
    run::{Run, Status, admissible},
    workspace::{LockHolder, Workspace},
};
use tfe_storage::{Query, StoreExt, Versioned};

use super::{agents, restored, runs};
use crate::{app::App, error::ApiError};

/// Most jobs of a queue that are looked at: beyond that a position is not exact, and nobody minds.
pub(crate) const MAX_QUEUED: u64 = 2_000;
/// Most jobs at work that are counted.
const MAX_WORKING: u64 = 2_000;

/// What a waiting run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// What people read, with what to do about it where something can be done.
    pub(crate) reason: String,
    /// How many go first, and this one: 1 is the next.
    pub(crate) position: u64,
    /// The id of what blocks it, if one thing does.
    pub(crate) blocked_by: Option<String>,
}

/// What the run waits for; none if it does not wait for the system.
pub(crate) async fn of(app: &App, run: &Run, workspace: &Workspace) -> Result<Option<Waiting>, ApiError> {
    if let Some(reason) = app.health.hindrance(run.status) {
        return Ok(Some(Waiting { reason, position: 1, blocked_by: None }));
    }
    match run.status {
        Status::Pending | Status::Confirmed => for_workspace(app, run, workspace).await.map(Some),
        Status::PlanQueued | Status::ApplyQueued => for_worker(app, run).await,
        Status::Planned => Ok(restored::pause(app).await?.map(|reason| Waiting { reason, position: 1, blocked_by: None })),
        _ => Ok(None),
    }
}

/// The queued jobs of a queue, in the order in which they are taken.
pub(crate) async fn order(app: &App, queue: &str) -> Result<Vec<Versioned<Job>>, ApiError> {
    let jobs = |status: &str, limit| Query::of::<Job>().equals("queue", queue).equals("status", status).limit(limit);
    let queued = app.store.list::<Job>(jobs("queued", MAX_QUEUED)).await?.items;
    if queued.len() < 2 {
        return Ok(queued);
    }
    let mut working: BTreeMap<Id<Organization>, usize> = BTreeMap::new();
    for job in app.store.list::<Job>(jobs("claimed", MAX_WORKING)).await?.items {
        *working.entry(job.record.organization_id).or_default() += 1;
    }
    Ok(fair_order(&queued, &working, app.now()).into_iter().cloned().collect())
}

async fn for_workspace(app: &App, run: &Run, workspace: &Workspace) -> Result<Waiting, ApiError> {
    let waiting = runs::waiting(app, &workspace.id).await?;
    // As if the workspace were free, which it is when those before have had their turn.
    let free = Workspace { lock: None, current_run_id: None, ..workspace.clone() };
    let mut left: Vec<&Run> = waiting.iter().map(|run| &run.record).collect();
    let mut position = 1;
    while let Some(next) = admissible(&free, left.iter().copied()).last().filter(|next| next.id != run.id) {
        let id = next.id.clone();
        left.retain(|other| other.id != id);
        position += 1;
    }
    let (reason, blocked_by) = match (&workspace.current_run_id, &workspace.lock) {
        (Some(current), _) => (format!("waiting for run {current}, which holds the workspace"), Some(current.to_string())),
        (None, Some(lock)) => {
            let holder = match &lock.holder {
                LockHolder::User(id) => id.to_string(),
                LockHolder::Organization(id) => id.to_string(),
                LockHolder::Run(id) => id.to_string(),
            };
            (format!("waiting for the lock of the workspace, held by {holder}; it can be unlocked"), Some(holder))
        }
        (None, None) => ("waiting for its turn in the workspace".to_owned(), None),
    };
    Ok(Waiting { reason, position, blocked_by })
}

async fn for_worker(app: &App, run: &Run) -> Result<Option<Waiting>, ApiError> {
    let Some(job) = runs::jobs(app, run).await?.into_iter().find(|job| job.status == JobStatus::Queued) else { return Ok(None) };
    let place = order(app, &job.queue).await?.iter().position(|other| other.id == job.id);
    let position = place.map_or(MAX_QUEUED, |place| place as u64) + 1;
    let workers = agents::present(app, &job.queue).await?;
    let reason = if workers.is_empty() {
        nobody(app, &job.queue).await?
    } else {
        let slots: u64 = workers.iter().map(|worker| worker.concurrency).sum();
        format!("waiting for a worker: place {position} in the queue, for {} with {slots} places in all", counted(workers.len(), "worker"))
    };
    Ok(Some(Waiting { reason, position, blocked_by: None }))
}

/// What to say when nobody can ever take the job as things are.
async fn nobody(app: &App, queue: &str) -> Result<String, ApiError> {
    let Some(id) = agent::pool_of(queue) else {
        return Ok("no worker is there; start one with: tfe-server worker --server URL".to_owned());
    };
    let pool = app.store.find::<AgentPool>(id.as_str()).await?;
    let name = pool.map_or_else(|| id.to_string(), |pool| pool.record.settings.name);
    Ok(format!("no agent of the pool {name} is there; start one with a token of the pool: tfe-server worker --server URL"))
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
