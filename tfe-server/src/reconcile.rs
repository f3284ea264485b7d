//! The loop that makes true what ought to be true: nothing waits for a message that was lost.
//!
//! Each round looks at the store alone: jobs whose runner is gone, runs whose turn it is, logs that can be joined.
//! A hint starts a round at once, the tick starts one anyway. Rounds are safe to repeat and to run on several nodes,
//! since every change is a version-checked commit.

use std::{collections::BTreeSet, time::Duration};

use tfe_core::{
    id::Id,
    job::{Job, LEASE_SECONDS, MAX_PLAN_ATTEMPTS},
    log::LogChunk,
    run::{Event, Phase, Run, Status},
    time::Timestamp,
    user::{AuthorizationCode, Session},
    workspace::Workspace,
};
use tfe_queue::Hint;
use tfe_storage::{Batch, Query, StoreExt};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    error::{ApiError, chain},
    service::{self, runs},
};

/// How long a lost hint can go unnoticed.
const TICK: Duration = Duration::from_secs(1);
/// How long, after its lease, a lost apply may still come back with its state before it is given up: a server that was
/// restarted, or a runner that was cut off, needs seconds.
const APPLY_GRACE_SECONDS: i64 = 60;
/// Most records of a kind that one round looks at; the next round goes on.
const BATCH: u64 = 500;
/// How many hints are taken at once.
const HINTS: usize = 64;

/// Reconciles until `shutdown`.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let started = app.now();
    while !shutdown.is_cancelled() {
        if let Err(error) = round(&app, started).await {
            tracing::warn!(error = chain(&error), "a round of the reconciler failed; the next one tries again");
        }
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = hints(&app) => {}
        }
    }
}

/// Waits for hints, at most a tick, and acts on them.
async fn hints(app: &App) {
    let deliveries = match app.queue.receive(HINTS, TICK).await {
        Ok(deliveries) => deliveries,
        Err(error) => {
            tracing::debug!(%error, "hints cannot be received; the tick goes on");
            return tokio::time::sleep(TICK).await;
        }
    };
    for delivery in deliveries {
        if let Hint::WorkspaceChanged { workspace } = delivery.hint()
            && let Err(error) = runs::admit(app, &Id::from(workspace.as_str())).await
        {
            tracing::warn!(workspace, error = chain(&error), "a hint was not followed; the tick does");
        }
        if let Err(error) = delivery.ack().await {
            tracing::debug!(%error, "a hint was not acknowledged and will come again");
        }
    }
}

async fn round(app: &App, started: Timestamp) -> Result<(), ApiError> {
    // Runners that were restarted together with this server get the time of a lease to take up their jobs again.
    if app.now() >= started.plus_seconds(LEASE_SECONDS) {
        lost_jobs(app).await?;
    }
    // Each whatever became of the one before: with the vault away there is still much to do.
    let done = [waiting_runs(app).await, finished_logs(app).await, service::rewrap::go_on(app).await, expired(app).await];
    done.into_iter().collect()
}

async fn lost_jobs(app: &App) -> Result<(), ApiError> {
    let claimed = app.store.list::<Job>(Query::of::<Job>().equals("status", "claimed").limit(BATCH)).await?.items;
    for job in claimed.into_iter().filter(|job| is_given_up(job, app.now())) {
        tracing::warn!(job = %job.id, run = %job.run_id, "the runner of a job is gone");
        let event = Event::RunnerLost { retry: job.attempts < MAX_PLAN_ATTEMPTS };
        let settled = match app.store.find::<Run>(job.run_id.as_str()).await? {
            Some(run) => service::states::settled(app, &run).await?,
            None => Batch::new(),
        };
        match runs::step(app, &job.run_id, &event, None, Batch::new().check(&job).and(settled)).await {
            // It came back, or ended, in between.
            Ok(_) | Err(ApiError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_given_up(job: &Job, now: Timestamp) -> bool {
    match job.phase {
        Phase::Plan => job.is_lost(now),
        Phase::Apply => job.is_lost(now.plus_seconds(-APPLY_GRACE_SECONDS)),
    }
}

async fn waiting_runs(app: &App) -> Result<(), ApiError> {
    let waiting = Query::of::<Run>().any_of("status", [Status::Pending, Status::Confirmed]).limit(BATCH);
    let waiting = app.store.list::<Run>(waiting).await?.items;
    // In the order in which they were queued, so that after an outage nobody is overtaken.
    let mut seen: BTreeSet<Id<Workspace>> = BTreeSet::new();
    for run in waiting.iter().filter(|run| seen.insert(run.workspace_id.clone())) {
        runs::admit(app, &run.workspace_id).await?;
    }
    Ok(())
}

async fn finished_logs(app: &App) -> Result<(), ApiError> {
    let chunks = app.store.list::<LogChunk>(Query::of::<LogChunk>().limit(BATCH)).await?.items;
    let ids: BTreeSet<Id<Run>> = chunks.iter().map(|chunk| chunk.run_id.clone()).collect();
    for id in ids {
        for phase in [Phase::Plan, Phase::Apply] {
            service::logs::join(app, &id, phase).await?;
        }
    }
    Ok(())
}

async fn expired(app: &App) -> Result<(), ApiError> {
    let now = app.now();
    let sessions = app.store.list::<Session>(Query::of::<Session>().limit(BATCH)).await?.items;
    let codes = app.store.list::<AuthorizationCode>(Query::of::<AuthorizationCode>().limit(BATCH)).await?.items;
    let batch = sessions.iter().filter(|session| session.expires_at <= now).fold(Batch::new(), Batch::delete);
    let batch = codes.iter().filter(|code| code.expires_at <= now).fold(batch, Batch::delete);
    if batch.is_empty() { Ok(()) } else { Ok(app.store.commit(batch).await?) }
}
