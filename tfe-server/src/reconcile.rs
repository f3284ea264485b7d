//! The loop that makes true what ought to be true: nothing waits for a message that was lost.
//!
//! Each round looks at the store alone: jobs whose runner is gone, runs whose turn it is, logs that can be joined.
//! A hint is followed at once by whichever node gets it; rounds begin with the tick, on the node that has the duty, however
//! many hints there are. Rounds are safe to repeat and to run on several nodes, since every change is a version-checked commit.

use std::{collections::BTreeSet, time::Duration};

use tfe_core::{
    duty::{self, Duty},
    id::Id,
    job::{Job, LEASE_SECONDS, MAX_PLAN_ATTEMPTS},
    log::LogChunk,
    run::{Event, Phase, Run, Status},
    time::Timestamp,
    user::{AuthorizationCode, Session},
    workspace::Workspace,
};
use tfe_queue::Hint;
use tfe_storage::{Batch, Query, StoreExt, Versioned};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    error::{ApiError, chain},
    service::{self, duties, runs},
};

/// How long a lost hint can go unnoticed.
const TICK: Duration = Duration::from_secs(1);
/// Most records of a kind that one round looks at; the next round goes on.
const BATCH: u64 = 500;
/// How many hints are taken at once.
const HINTS: usize = 64;
/// How long the duty may have been nobody's before the whole installation counts as having been down, in milliseconds:
/// another node that is up takes it over sooner.
const DOWN_MILLIS: u64 = 2 * 1000 * duty::LEASE_SECONDS.unsigned_abs();
/// How often what is long gone is forgotten, in seconds.
const FORGET_SECONDS: i64 = 60;
/// How long a plan that leads to nothing may wait for a worker, in seconds, before it counts as left behind by a client that was
/// interrupted: longer than a person waits, and than an outage that anybody works on.
const SPECULATIVE_WAIT_SECONDS: i64 = 60 * 60;
/// The name of the loop, for those who watch over it.
pub(crate) const LOOP: &str = "reconciler";
/// The duty of the node that looks for what nobody else would.
const DUTY: &str = "reconciler";

/// Reconciles until `shutdown`.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let mut reconciler = Reconciler { quiet_since: app.now(), waiting_from: 0, forgotten_at: app.now(), app };
    let mut due = Instant::now();
    while !shutdown.is_cancelled() {
        reconciler.app.health.loops.turned(LOOP);
        if Instant::now() >= due {
            if let Err(error) = reconciler.round().await {
                tracing::warn!(error = chain(&error), "a round of the reconciler failed; the next one tries again");
                // While this node could do nothing, runners could perhaps not renew their leases either.
                reconciler.quiet_since = reconciler.app.now();
            }
            due = Instant::now() + TICK;
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = hints(&reconciler.app, due.saturating_duration_since(Instant::now())) => {}
        }
    }
    if let Err(error) = duties::give_up(&reconciler.app, DUTY).await {
        tracing::debug!(error = chain(&error), "the duty of the reconciler was not given back; its lease ends by itself");
    }
}

/// What the loop knows from round to round.
struct Reconciler {
    app: App,
    /// Since when runners could reach the installation again. They get the time of a lease from then on to renew theirs.
    quiet_since: Timestamp,
    /// How many waiting runs earlier rounds have looked at.
    waiting_from: u64,
    /// When what is long gone was forgotten last.
    forgotten_at: Timestamp,
}

/// Waits for hints, for so long at most, and acts on them.
async fn hints(app: &App, patience: Duration) {
    let deliveries = match app.queue.receive(HINTS, patience).await {
        Ok(deliveries) => deliveries,
        Err(error) => {
            tracing::debug!(%error, "hints cannot be received; the tick goes on");
            return tokio::time::sleep(patience).await;
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

impl Reconciler {
    /// What one node at a time does for all.
    async fn round(&mut self) -> Result<(), ApiError> {
        let app = self.app.clone();
        let Some(duty) = duties::hold(&app, DUTY).await? else { return Ok(()) };
        if duty.gap_millis > DOWN_MILLIS {
            self.quiet_since = self.quiet_since.max(duty.since);
        }
        if app.now() >= self.quiet_since.plus_seconds(LEASE_SECONDS) {
            lost_jobs(&app, &duty).await?;
        }
        // Each whatever became of the one before: with the vault away there is still much to do.
        let done = [
            self.waiting_runs().await,
            abandoned_plans(&app).await,
            finished_logs(&app).await,
            service::rewrap::go_on(&app).await,
            self.expired().await,
        ];
        done.into_iter().collect()
    }

    /// Admits runs whose hint was lost, a part of them in each round.
    async fn waiting_runs(&mut self) -> Result<(), ApiError> {
        let waiting = Query::of::<Run>().any_of("status", [Status::Pending, Status::Confirmed]).page(self.waiting_from, BATCH);
        let waiting = self.app.store.list::<Run>(waiting).await?.items;
        self.waiting_from = if waiting.len() as u64 == BATCH { self.waiting_from + BATCH } else { 0 };
        // In the order in which they were queued, so that after an outage nobody is overtaken.
        let mut seen: BTreeSet<Id<Workspace>> = BTreeSet::new();
        for run in waiting.iter().filter(|run| seen.insert(run.workspace_id.clone())) {
            self.app.health.loops.turned(LOOP);
            runs::admit(&self.app, &run.workspace_id).await?;
        }
        Ok(())
    }

    async fn expired(&mut self) -> Result<(), ApiError> {
        let (app, now) = (&self.app, self.app.now());
        let sessions = app.store.list::<Session>(Query::of::<Session>().limit(BATCH)).await?.items;
        let codes = app.store.list::<AuthorizationCode>(Query::of::<AuthorizationCode>().limit(BATCH)).await?.items;
        let batch = sessions.iter().filter(|session| session.expires_at <= now).fold(Batch::new(), Batch::delete);
        let batch = codes.iter().filter(|code| code.expires_at <= now).fold(batch, Batch::delete);
        if !batch.is_empty() {
            app.store.commit(batch).await?;
        }
        if now >= self.forgotten_at.plus_seconds(FORGET_SECONDS) {
            service::agents::forget(app).await?;
            service::nodes::forget(app).await?;
            self.forgotten_at = now;
        }
        Ok(())
    }
}

/// Starts plans again and ends applies whose runner is gone. The duty is checked in each commit: a node that was frozen while
/// its duty went to another one changes nothing any more.
async fn lost_jobs(app: &App, duty: &Versioned<Duty>) -> Result<(), ApiError> {
    let claimed = app.store.list::<Job>(Query::of::<Job>().equals("status", "claimed").limit(BATCH)).await?.items;
    for job in claimed.into_iter().filter(|job| job.is_given_up(app.now())) {
        app.health.loops.turned(LOOP);
        tracing::warn!(job = %job.id, run = %job.run_id, "the runner of a job is gone");
        let event = Event::RunnerLost { retry: job.attempts < MAX_PLAN_ATTEMPTS };
        let settled = match app.store.find::<Run>(job.run_id.as_str()).await? {
            Some(run) => service::states::settled(app, &run).await?,
            None => Batch::new(),
        };
        match runs::step(app, &job.run_id, &event, None, Batch::new().check(duty).check(&job).and(settled)).await {
            // It came back, or ended, in between.
            Ok(_) | Err(ApiError::Refused(_) | ApiError::Busy) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Ends plans that lead to nothing and that nobody waits for any more.
async fn abandoned_plans(app: &App) -> Result<(), ApiError> {
    let queued = Query::of::<Run>().equals("status", Status::PlanQueued).limit(BATCH);
    let deadline = app.now().plus_seconds(-SPECULATIVE_WAIT_SECONDS);
    let is_abandoned = |run: &&Versioned<Run>| run.options.plan_only && run.created_at <= deadline;
    for run in app.store.list::<Run>(queued).await?.items.iter().filter(is_abandoned) {
        app.health.loops.turned(LOOP);
        match runs::step(app, &run.id, &Event::CancelRequested, None, Batch::new()).await {
            Ok(_) | Err(ApiError::Refused(_) | ApiError::Busy) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn finished_logs(app: &App) -> Result<(), ApiError> {
    let chunks = app.store.list::<LogChunk>(Query::of::<LogChunk>().limit(BATCH)).await?.items;
    let ids: BTreeSet<Id<Run>> = chunks.iter().map(|chunk| chunk.run_id.clone()).collect();
    for id in ids {
        for phase in [Phase::Plan, Phase::Apply] {
            app.health.loops.turned(LOOP);
            service::logs::join(app, &id, phase).await?;
        }
    }
    Ok(())
}
