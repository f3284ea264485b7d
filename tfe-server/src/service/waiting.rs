//! Why a run waits, for how many others, and what blocks it: whoever looks at a run that does not move can read here what to
//! do about it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tfe_core::{
    agent::{self, AgentPool},
    id::Id,
    job::{Job, JobStatus, fair_order},
    organization::Organization,
    run::{Run, Status, admissible},
    time::Timestamp,
    workspace::{LockHolder, Workspace},
};
use tfe_storage::{Query, StoreExt, Versioned};

use super::{agents, restored, runs, walk};
use crate::{app::App, error::ApiError};

/// Most jobs of a queue that are put in order, the oldest of them: some twenty megabytes in memory, and hours of work for any fleet.
const MAX_QUEUED: u64 = 20_000;
/// Most jobs at work that are looked at: more than any installation has hands.
const MAX_WORKING: u64 = 20_000;
/// From how many jobs on the order of a queue is not made anew for everybody who asks, which would read several pages each time.
const LONG: usize = 1_000;
/// For how long the order of a long queue is taken for the present one, in milliseconds: a job at its end waits for minutes.
const ORDER_MILLIS: u64 = 1_000;

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

/// The orders of long queues, as they were a moment ago.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<BTreeMap<String, (Timestamp, Order)>>);

/// Queued jobs in the order in which they are taken.
type Order = Arc<Vec<Versioned<Job>>>;

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

/// The queued jobs of a queue, in the order in which they are taken. In a long queue some of them may have been taken since.
pub(crate) async fn order(app: &App, queue: &str) -> Result<Order, ApiError> {
    if let Some(order) = app.orders.lately(queue, app.now()) {
        return Ok(order);
    }
    let queued = walk::all::<Job>(app, jobs("queued").equals("queue", queue), MAX_QUEUED).await?;
    if queued.len() < 2 {
        return Ok(Arc::new(queued));
    }
    let mut working: BTreeMap<Id<Organization>, usize> = BTreeMap::new();
    for job in at_work_in(app, queue).await? {
        *working.entry(job.record.organization_id).or_default() += 1;
    }
    let now = app.now();
    let order: Order = Arc::new(fair_order(&queued, &working, now).into_iter().cloned().collect());
    app.orders.keep(queue, now, &order);
    Ok(order)
}

/// The jobs of a queue that workers have.
pub(crate) async fn at_work_in(app: &App, queue: &str) -> Result<Vec<Versioned<Job>>, ApiError> {
    walk::all(app, jobs("claimed").equals("queue", queue), MAX_WORKING).await
}

/// All jobs that workers have.
pub(crate) async fn at_work(app: &App) -> Result<Vec<Versioned<Job>>, ApiError> {
    walk::all(app, jobs("claimed"), MAX_WORKING).await
}

fn jobs(status: &str) -> Query {
    Query::of::<Job>().equals("status", status)
}

impl Orders {
    fn lately(&self, queue: &str, now: Timestamp) -> Option<Order> {
        let orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, order) = orders.get(queue)?;
        (*at <= now && now.millis_since(*at) < ORDER_MILLIS).then(|| order.clone())
    }

    /// Keeps the order if its queue is long.
    fn keep(&self, queue: &str, now: Timestamp, order: &Order) {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if order.len() < LONG {
            orders.remove(queue);
        } else {
            orders.insert(queue.to_owned(), (now, order.clone()));
        }
    }
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
    let order = order(app, &job.queue).await?;
    let position = order.iter().position(|other| other.id == job.id).unwrap_or(order.len()) as u64 + 1;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tfe_core::{agent::FLEET, job::Priority, run::RunOptions};
    use tfe_storage::Batch;

    use super::*;
    use crate::trial::Trial;

    /// More than two pages of the store.
    const MANY: usize = 2_100;

    /// Makes many jobs like that of a run, each with a run of its own; the last of them.
    async fn flood(trial: &Trial, run: &Run, like: &Job) -> Run {
        let mut last = run.clone();
        for _ in 0..MANY / 300 {
            let mut batch = Batch::new();
            for _ in 0..300 {
                let app = &trial.app;
                last = Run { id: app.new_id(), plan_id: app.new_id(), apply_id: app.new_id(), created_at: app.now(), ..run.clone() };
                let job = Job { id: app.new_id(), run_id: last.id.clone(), token_digest: None, created_at: app.now(), ..like.clone() };
                batch = batch.insert(&last).insert(&job);
                tokio::time::advance(Duration::from_millis(1)).await;
            }
            trial.commit(batch).await;
        }
        last
    }

    async fn job_of(trial: &Trial, run: &Run) -> Versioned<Job> {
        runs::jobs(&trial.app, run).await.unwrap().pop().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_of_jobs_of_one_organization_do_not_hide_those_of_others() {
        let trial = Trial::new().await;
        let id = trial.workspace("app").await;
        let run = trial.queue(&id, RunOptions { plan_only: true, ..RunOptions::default() }).await;
        let like = job_of(&trial, &run).await;
        let last = flood(&trial, &run, &like).await;
        let workspace = trial.find(&id).await;
        let waiting = of(&trial.app, &last, &workspace).await.unwrap().unwrap();
        assert_eq!(waiting.position, MANY as u64 + 1);

        // What is queued behind all of them goes first, a moment later, and is the next.
        tokio::time::advance(Duration::from_millis(ORDER_MILLIS)).await;
        let own = trial.queue(&id, RunOptions { plan_only: true, ..RunOptions::default() }).await;
        let job = job_of(&trial, &own).await;
        let urgent = Job { organization_id: Id::from("org-other"), priority: Priority::Apply, ..job.record.clone() };
        trial.commit(Batch::new().update(&job, urgent)).await;
        assert_eq!(order(&trial.app, FLEET).await.unwrap()[0].id, job.id);
        assert_eq!(of(&trial.app, &last, &workspace).await.unwrap().unwrap().position, MANY as u64 + 2);
        assert_eq!(trial.claim().await.unwrap().unwrap().run, own.id);
        assert_eq!(trial.claim().await.unwrap().unwrap().run, run.id, "what was taken a moment ago is passed over");
    }

    #[tokio::test(start_paused = true)]
    async fn all_jobs_at_work_are_seen() {
        let trial = Trial::new().await;
        let run = trial.queue(&trial.workspace("app").await, RunOptions::default()).await;
        trial.claim().await.unwrap().unwrap();
        let like = job_of(&trial, &run).await;
        flood(&trial, &run, &like).await;
        assert_eq!(at_work(&trial.app).await.unwrap().len(), MANY + 1);
        assert_eq!(at_work_in(&trial.app, FLEET).await.unwrap().len(), MANY + 1);
    }
}
