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
    run::{Event, Run, Status},
    time::Timestamp,
    user::{AuthorizationCode, Session},
    workspace::Workspace,
};
use tfe_queue::Hint;
use tfe_storage::{Batch, Query, StoreExt, Versioned};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    error::{ApiError, chain},
    service::{self, duties, logs, runs, waiting},
};

/// How long a lost hint can go unnoticed.
const TICK: Duration = Duration::from_secs(1);
/// Most records of a kind that one round looks at; the next round goes on.
const BATCH: u64 = 500;
/// Most queued jobs of which one round looks whether they wait for the right workers: each costs a read.
const PLACED: u64 = 50;
/// Most logs that are looked at in a row for one that can be joined: while runs work, each costs a read.
const LOGS_IN_A_ROW: u64 = 20;
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
    let joining = tokio::spawn(async { None });
    let mut reconciler = Reconciler { quiet_since: app.now(), waiting_from: 0, placed_from: 0, joining, forgotten_at: app.now(), app };
    let mut due = Instant::now();
    while !shutdown.is_cancelled() {
        reconciler.app.health.loops.turned(LOOP);
        if Instant::now() >= due {
            reconciler.round().await;
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
    /// How many queued jobs earlier rounds have looked at.
    placed_from: u64,
    /// What joins logs beside the rounds, and gives the place in the order of all pieces where it goes on.
    joining: JoinHandle<Option<String>>,
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
    async fn round(&mut self) {
        let app = self.app.clone();
        let duty = match duties::hold(&app, DUTY).await {
            Ok(Some(duty)) => duty,
            Ok(None) => return,
            Err(error) => return self.cannot_look(&error),
        };
        if duty.gap_millis > DOWN_MILLIS {
            self.quiet_since = self.quiet_since.max(duty.since);
        }
        match waiting::at_work(&app).await {
            Ok(jobs) if app.now() >= self.quiet_since.plus_seconds(LEASE_SECONDS) => lost_jobs(&app, &duty, &jobs).await,
            Ok(_) => {}
            Err(error) => self.cannot_look(&error),
        }
        // Each whatever became of the one before: with the vault away, or something damaged, there is still much to do.
        let chores = [
            ("waiting runs", self.waiting_runs(&duty).await),
            ("places of jobs", self.misplaced_jobs(&duty).await),
            ("abandoned plans", abandoned_plans(&app, &duty).await),
            ("sealing anew", service::rewrap::go_on(&app).await),
            ("what has expired", self.expired(&duty).await),
        ];
        for (chore, error) in chores.into_iter().filter_map(|(chore, done)| Some((chore, done.err()?))) {
            tracing::warn!(chore, error = chain(&error), "a chore of the reconciler failed; the next round tries again");
        }
        self.finished_logs().await;
    }

    /// While this node cannot see which jobs there are, runners can perhaps not renew their leases either.
    fn cannot_look(&mut self, error: &ApiError) {
        tracing::warn!(error = chain(error), "a round of the reconciler failed; the next one tries again");
        self.quiet_since = self.app.now();
    }

    /// Admits runs whose hint was lost, a part of them in each round.
    async fn waiting_runs(&mut self, duty: &Versioned<Duty>) -> Result<(), ApiError> {
        let waiting = Query::of::<Run>().any_of("status", [Status::Pending, Status::Confirmed]).page(self.waiting_from, BATCH);
        let waiting = self.app.store.list::<Run>(waiting).await?.items;
        self.waiting_from = if waiting.len() as u64 == BATCH { self.waiting_from + BATCH } else { 0 };
        // In the order in which they were queued, so that after an outage nobody is overtaken.
        let mut seen: BTreeSet<Id<Workspace>> = BTreeSet::new();
        for run in waiting.iter().filter(|run| seen.insert(run.workspace_id.clone())) {
            self.app.health.loops.turned(LOOP);
            runs::admit_with(&self.app, &run.workspace_id, Batch::new().check(duty)).await?;
        }
        Ok(())
    }

    /// Puts jobs before the workers that their workspaces have now, a part of them in each round.
    async fn misplaced_jobs(&mut self, duty: &Versioned<Duty>) -> Result<(), ApiError> {
        let queued = Query::of::<Job>().equals("status", "queued").page(self.placed_from, PLACED);
        let queued = self.app.store.list::<Job>(queued).await?.items;
        self.placed_from = if queued.len() as u64 == PLACED { self.placed_from + PLACED } else { 0 };
        for job in &queued {
            if let Some(workspace) = self.app.store.find::<Workspace>(job.workspace_id.as_str()).await? {
                runs::place(&self.app, job, &workspace, Batch::new().check(duty)).await?;
            }
        }
        Ok(())
    }

    /// Joins logs of phases that are over, beside the rounds, since a long one takes a while. Doing it twice does no harm.
    async fn finished_logs(&mut self) {
        if self.joining.is_finished() {
            // After a panic it begins anew.
            let place = (&mut self.joining).await.unwrap_or_default();
            self.joining = tokio::spawn(join_some(self.app.clone(), place));
        }
    }

    async fn expired(&mut self, duty: &Versioned<Duty>) -> Result<(), ApiError> {
        let (app, now) = (&self.app, self.app.now());
        let sessions = app.store.list::<Session>(Query::of::<Session>().limit(BATCH)).await?.items;
        let codes = app.store.list::<AuthorizationCode>(Query::of::<AuthorizationCode>().limit(BATCH)).await?.items;
        let batch = sessions.iter().filter(|session| session.expires_at <= now).fold(Batch::new(), Batch::delete);
        let batch = codes.iter().filter(|code| code.expires_at <= now).fold(batch, Batch::delete);
        if !batch.is_empty() {
            app.store.commit(Batch::new().check(duty).and(batch)).await?;
        }
        if now >= self.forgotten_at.plus_seconds(FORGET_SECONDS) {
            service::agents::forget(app, duty).await?;
            service::nodes::forget(app, duty).await?;
            self.forgotten_at = now;
        }
        Ok(())
    }
}

/// Starts plans again and ends applies whose runner is gone. The duty is checked in each commit: a node that was frozen while
/// its duty went to another one changes nothing any more.
async fn lost_jobs(app: &App, duty: &Versioned<Duty>, claimed: &[Versioned<Job>]) {
    for job in claimed.iter().filter(|job| job.is_given_up(app.now())) {
        app.health.loops.turned(LOOP);
        tracing::warn!(job = %job.id, run = %job.run_id, "the runner of a job is gone");
        match give_up(app, duty, job).await {
            // It came back, or ended, in between.
            Ok(_) | Err(ApiError::Refused(_) | ApiError::Busy) => {}
            Err(error) => tracing::warn!(job = %job.id, error = chain(&error), "a lost job was not given up; the next round tries again"),
        }
    }
}

async fn give_up(app: &App, duty: &Versioned<Duty>, job: &Versioned<Job>) -> Result<Run, ApiError> {
    let event = Event::RunnerLost { retry: job.attempts < MAX_PLAN_ATTEMPTS };
    let settled = match app.store.find::<Run>(job.run_id.as_str()).await? {
        Some(run) => service::states::settled(app, &run).await?,
        None => Batch::new(),
    };
    runs::step(app, &job.run_id, &event, None, Batch::new().check(duty).check(job).and(settled)).await
}

/// Ends plans that lead to nothing and that nobody waits for any more.
async fn abandoned_plans(app: &App, duty: &Versioned<Duty>) -> Result<(), ApiError> {
    let queued = Query::of::<Run>().equals("status", Status::PlanQueued).limit(BATCH);
    let deadline = app.now().plus_seconds(-SPECULATIVE_WAIT_SECONDS);
    let is_abandoned = |run: &&Versioned<Run>| run.options.plan_only && run.created_at <= deadline;
    for run in app.store.list::<Run>(queued).await?.items.iter().filter(is_abandoned) {
        app.health.loops.turned(LOOP);
        match runs::step(app, &run.id, &Event::CancelRequested, None, Batch::new().check(duty)).await {
            Ok(_) | Err(ApiError::Refused(_) | ApiError::Busy) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Joins the logs of some runs, and gives the place where to go on: none for the beginning.
async fn join_some(app: App, mut place: Option<String>) -> Option<String> {
    for _ in 0..LOGS_IN_A_ROW {
        match logs::next_in_pieces(&app, &mut place).await {
            Ok(Some(run)) => service::join_logs(app.clone(), run).await,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(error = chain(&error), "logs in pieces cannot be looked for; the next round tries again");
                break;
            }
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use tfe_core::run::RunOptions;

    use super::*;
    use crate::trial::Trial;

    /// More than the end of a lease and a few rounds take.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Reconciles until something is true.
    async fn until(trial: &Trial, is_true: impl AsyncFn() -> bool) {
        let shutdown = CancellationToken::new();
        let reconciling = tokio::spawn(run(trial.app.clone(), shutdown.clone()));
        let deadline = Instant::now() + PATIENCE;
        while !is_true().await {
            assert!(Instant::now() < deadline, "it is not so after {PATIENCE:?}");
            tokio::time::sleep(TICK).await;
        }
        shutdown.cancel();
        reconciling.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn lost_jobs_are_recovered_whatever_becomes_of_other_chores() {
        let trial = Trial::new().await;
        let run = trial.queue(&trial.workspace("app").await, RunOptions::default()).await;
        trial.claim().await.unwrap().expect("the plan is queued");
        trial.damaged::<Session>(serde_json::json!({ "digest": "of nobody" })).await;
        until(&trial, async || trial.find(&run.id).await.status == Status::PlanQueued).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_queued_job_follows_its_workspace_to_other_workers() {
        let trial = Trial::new().await;
        let run = trial.queue(&trial.workspace("app").await, RunOptions::default()).await;
        let job = runs::jobs(&trial.app, &run).await.unwrap().pop().unwrap();
        trial.commit(Batch::new().update(&job, Job { queue: "apool-gone".to_owned(), ..job.record.clone() })).await;
        assert!(trial.claim().await.unwrap().is_none(), "nobody of the fleet gets it");
        until(&trial, async || trial.find(&job.id).await.queue == job.queue).await;
        assert_eq!(trial.claim().await.unwrap().unwrap().run, run.id);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_whose_duty_went_to_another_one_changes_no_run() {
        let trial = Trial::new().await;
        let run = trial.queue(&trial.workspace("app").await, RunOptions { plan_only: true, ..RunOptions::default() }).await;
        tokio::time::advance(Duration::from_secs(1 + SPECULATIVE_WAIT_SECONDS.unsigned_abs())).await;
        let stale = duties::hold(&trial.app, DUTY).await.unwrap().unwrap();
        duties::give_up(&trial.app, DUTY).await.unwrap();
        abandoned_plans(&trial.app, &stale).await.unwrap();
        assert_eq!(trial.find(&run.id).await.status, Status::PlanQueued);

        let duty = duties::hold(&trial.app, DUTY).await.unwrap().unwrap();
        abandoned_plans(&trial.app, &duty).await.unwrap();
        assert_eq!(trial.find(&run.id).await.status, Status::Canceled);
    }
}
