//! Which workers there are: noted when they ask for work, so that a run can say whether anybody could take it.

use tfe_core::{agent::Agent, duty::Duty};
use tfe_runner::job::RunnerInfo;
use tfe_storage::{Batch, Error, Query, StoreExt, Versioned};

use crate::{app::App, error::ApiError};

/// How old a note may grow, in milliseconds, before it is written anew: an idle fleet must cost next to nothing.
const NOTE_GRAIN_MILLIS: u64 = 10_000;
/// Most agents of a queue that are looked at.
const MAX_AGENTS: u64 = 1_000;

/// Notes that a worker asked for work.
pub(crate) async fn note(app: &App, queue: &str, runner: &RunnerInfo, address: Option<&str>) -> Result<(), ApiError> {
    let known = find(app, queue, &runner.name).await?;
    let now = app.now();
    let fresh = |agent: &Agent| Agent {
        version: runner.version.clone(),
        address: address.map(str::to_owned),
        concurrency: runner.concurrency,
        working: runner.working,
        last_seen_at: now,
        left: false,
        ..agent.clone()
    };
    let batch = match &known {
        Some(known) if is_current(known, runner) && now.millis_since(known.last_seen_at) < NOTE_GRAIN_MILLIS => return Ok(()),
        Some(known) => Batch::new().update(known, fresh(known)),
        None => Batch::new().insert(&fresh(&Agent {
            id: app.new_id(),
            created_at: now,
            queue: queue.to_owned(),
            name: runner.name.clone(),
            version: String::new(),
            address: None,
            concurrency: 0,
            working: 0,
            last_seen_at: now,
            left: false,
        })),
    };
    written(app, batch).await
}

/// Notes that a worker takes no more jobs.
pub(crate) async fn note_leaving(app: &App, queue: &str, name: &str) -> Result<(), ApiError> {
    match find(app, queue, name).await? {
        Some(known) => written(app, Batch::new().update(&known, &Agent { left: true, working: 0, ..known.record.clone() })).await,
        None => Ok(()),
    }
}

/// The workers of a queue that were heard of lately.
pub(crate) async fn present(app: &App, queue: &str) -> Result<Vec<Versioned<Agent>>, ApiError> {
    let now = app.now();
    let mut agents = app.store.list::<Agent>(Query::of::<Agent>().equals("queue", queue).limit(MAX_AGENTS)).await?.items;
    agents.retain(|agent| agent.is_present(now));
    Ok(agents)
}

/// Forgets workers that have been gone for long, as a part of that duty.
pub(crate) async fn forget(app: &App, duty: &Versioned<Duty>) -> Result<(), ApiError> {
    let now = app.now();
    let agents = app.store.list::<Agent>(Query::of::<Agent>().limit(MAX_AGENTS)).await?.items;
    let batch = agents.iter().filter(|agent| agent.is_forgotten(now)).fold(Batch::new(), Batch::delete);
    if batch.is_empty() { Ok(()) } else { written(app, Batch::new().check(duty).and(batch)).await }
}

async fn find(app: &App, queue: &str, name: &str) -> Result<Option<Versioned<Agent>>, ApiError> {
    let query = Query::of::<Agent>().equals("queue", queue).equals("name", name).limit(1);
    Ok(app.store.list::<Agent>(query).await?.items.pop())
}

fn is_current(known: &Agent, runner: &RunnerInfo) -> bool {
    !known.left && known.version == runner.version && known.concurrency == runner.concurrency && known.working == runner.working
}

/// Another note of the same worker at the same time says the same.
async fn written(app: &App, batch: Batch) -> Result<(), ApiError> {
    match app.store.commit(batch).await {
        Ok(()) | Err(Error::Conflict { .. } | Error::AlreadyExists { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
