//! The control plane as runners see it: who has which job, and what their reports do. Runners in this process call it
//! directly, others through `api/workers`.
//!
//! Each call names the job, the fencing token and the run token. A call of someone who lost the job ends with
//! [`ControlError::Fenced`], also when the loss happens while the call is on its way: what it writes is committed
//! together with the job at the version that was checked.

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{StreamExt, future::try_join_all, stream};
use tfe_core::{
    agent::FLEET,
    blob::Blob,
    configuration::ConfigurationVersion,
    id::Id,
    job::{Job, JobStatus, Lease},
    run::{Effect, Event, PhaseResult, Run},
    secret::Secret,
    state_version::StateVersion,
    workspace::Workspace,
};
use tfe_runner::{
    control::{ByteStream, Control, ControlError, Ticket},
    job::{ArtifactKind, Assignment, Directive, Outcome, RunnerInfo},
    open_snapshot,
};
use tfe_storage::{Batch, Error, StoreExt, VaultError, Versioned};
use tokio::time::Instant;

use super::{
    agents, assignments,
    fence::Fence,
    logs, runs,
    states::{self, Arrival},
    tokens, waiting,
};
use crate::{
    app::App,
    error::{ApiError, chain},
};

/// Largest artifact of a plan.
const MAX_ARTIFACT_BYTES: u64 = 1 << 30;
/// How long a runner waits before it asks again while a part of the system does not work.
const RECOVERY_WAIT: Duration = Duration::from_millis(500);
/// What a user reads of a run that cannot be given to any runner.
const CANNOT_BE_GIVEN: &str = "it could not be given to a worker, since something that it needs cannot be read, such as the value of a \
                               variable; set the workspace's sensitive variables again and start a new run, or ask the operator, whose \
                               log has the cause";
/// How long a waiting runner goes without looking by itself: what a notice that was lost costs.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a call is decided anew because the job changed in between.
const MAX_ATTEMPTS: u32 = 20;

/// The door for the runners of one queue.
#[derive(Debug, Clone)]
pub(crate) struct LocalControl {
    app: App,
    /// Whose jobs are given out.
    queue: String,
    /// From where the runner calls; none for one in this process.
    address: Option<String>,
}

/// A job whose ticket was checked, and its run.
struct Held {
    job: Versioned<Job>,
    run: Versioned<Run>,
}

impl LocalControl {
    /// For the installation's own runner in this process.
    pub(crate) fn new(app: App) -> Self {
        Self { app, queue: FLEET.to_owned(), address: None }
    }

    /// For a runner elsewhere that may take the jobs of a queue.
    pub(crate) fn of_queue(app: App, queue: String, address: String) -> Self {
        Self { app, queue, address: Some(address) }
    }

    /// Takes the first queued job that nobody else is faster for.
    async fn try_claim(&self, runner: &RunnerInfo) -> Result<Option<Assignment>, ApiError> {
        for job in waiting::order(&self.app, &self.queue).await?.iter() {
            match self.take(runner, job).await {
                Ok(Some(assignment)) => return Ok(Some(assignment)),
                Ok(None) => {}
                // What is wrong with the vault is not wrong with the job, and will be made good.
                Err(error) if error.may_pass() || self.app.vault.check().await.is_err() => return Err(error),
                Err(error) if is_unreadable(&error) => self.end_unreadable(job, &error).await?,
                // Another node may be able to, as one of a newer program.
                Err(error) => tracing::error!(job = %job.id, error = chain(&error), "a job cannot be given to a runner by this node"),
            }
        }
        Ok(None)
    }

    /// Ends the run of a job that cannot be given to anybody, so that it does not stop those behind it.
    async fn end_unreadable(&self, job: &Versioned<Job>, error: &ApiError) -> Result<(), ApiError> {
        tracing::error!(job = %job.id, run = %job.run_id, error = chain(error), "a job cannot be given to any runner; its run ends");
        let event = Event::Failed { reason: CANNOT_BE_GIVEN.to_owned() };
        match runs::step(&self.app, &job.run_id, &event, None, Batch::new().check(job)).await {
            Ok(run) => super::after_phase(&self.app, &run).await,
            // Somebody else took it or ended it in between.
            Err(ApiError::Refused(_) | ApiError::Busy) => {}
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => tracing::error!(run = %job.run_id, error = chain(&error), "its run cannot be ended either; the next job goes on"),
        }
        Ok(())
    }

    /// Gives out again what the runner was given and never received, since this or another node died before it could answer.
    async fn take_back(&self, runner: &RunnerInfo) -> Result<(), ApiError> {
        let (Some(holds), Some(question)) = (&runner.holds, &runner.question) else { return Ok(()) };
        let claimed = waiting::at_work_in(&self.app, &self.queue).await?;
        for job in claimed.iter().filter(|job| job.never_reached(&runner.name, question, holds)) {
            tracing::info!(job = %job.id, run = %job.run_id, runner = runner.name, "a job that never reached its runner is given out again");
            match runs::step(&self.app, &job.run_id, &Event::NeverReceived, None, Batch::new().check(job)).await {
                Ok(_) | Err(ApiError::Refused(_) | ApiError::Busy) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn take(&self, runner: &RunnerInfo, job: &Versioned<Job>) -> Result<Option<Assignment>, ApiError> {
        let run = self.app.store.find::<Run>(job.run_id.as_str()).await?;
        // Looked at before anything is opened: in a long queue others may have taken the job already.
        let Some(run) = run.filter(|run| run.allows(&Event::Claimed, self.app.now())) else { return Ok(None) };
        let token = tokens::new_secret(&self.app);
        let mut claimed = job.record.clone().claimed(&runner.name, self.app.now()).answering(runner.question.clone());
        claimed.token_digest = Some(tokens::digest(token.expose()));
        let also = Batch::new().update(job, &claimed);
        // Before the claim: what cannot be opened now, since the vault is away, leaves the job where it is in the queue.
        let assignment = self.assignment(&claimed, &run, token).await?;
        match runs::try_step(&self.app, &run, &Event::Claimed, None, also, |run| run).await {
            Ok(Some(_)) => Ok(Some(assignment)),
            Ok(None) | Err(ApiError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn try_adopt(&self, runner: &RunnerInfo, id: &Id<Job>) -> Result<Option<Assignment>, ApiError> {
        let Some(job) = self.app.store.find::<Job>(id.as_str()).await? else { return Ok(None) };
        let holds = |lease: &Lease| lease.holder == runner.name;
        let is_ours = job.status == JobStatus::Claimed && job.queue == self.queue && job.lease.as_ref().is_some_and(holds);
        let Some(run) = self.app.store.find::<Run>(job.run_id.as_str()).await?.filter(|_| is_ours) else { return Ok(None) };
        let token = tokens::new_secret(&self.app);
        let mut adopted = job.record.clone().claimed(&runner.name, self.app.now());
        adopted.attempts = job.attempts;
        adopted.token_digest = Some(tokens::digest(token.expose()));
        let assignment = self.assignment(&adopted, &run, token).await?;
        match self.app.store.commit(Batch::new().update(&job, &adopted)).await {
            Ok(()) => Ok(Some(assignment)),
            Err(error) => Err(error.into()),
        }
    }

    async fn assignment(&self, job: &Job, run: &Run, run_token: Secret) -> Result<Assignment, ApiError> {
        let key = self.app.vault.open(&Job::SPOOL_KEY.context(&job.id), &job.spool_key).await?;
        Ok(Assignment {
            job: job.id.clone(),
            run: run.id.clone(),
            phase: job.phase,
            fencing_token: job.fencing_token,
            run_token,
            spool_key: Secret::from(STANDARD.encode(&*key)),
            spec: assignments::spec(&self.app, run).await?,
        })
    }

    /// The job and its run, if the ticket is in force.
    async fn held(&self, ticket: &Ticket) -> Result<Held, ControlError> {
        let job = self.app.store.find::<Job>(ticket.job.as_str()).await.map_err(unavailable)?.ok_or(ControlError::Fenced)?;
        let digest = tokens::digest(ticket.run_token.expose());
        let is_in_force = job.status == JobStatus::Claimed && job.fencing_token == ticket.fencing_token && job.token_digest == Some(digest);
        if !is_in_force {
            return Err(ControlError::Fenced);
        }
        let run = self.app.store.find::<Run>(job.run_id.as_str()).await.map_err(unavailable)?.ok_or(ControlError::Fenced)?;
        Ok(Held { job, run })
    }

    /// Commits what `decide` makes of the held job and run, again when something changed in between.
    async fn commit(&self, ticket: &Ticket, decide: impl Fn(&Held) -> Batch + Send + Sync) -> Result<(), ControlError> {
        for _ in 0..MAX_ATTEMPTS {
            let held = self.held(ticket).await?;
            match self.app.store.commit(decide(&held)).await {
                Ok(()) => return Ok(()),
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(refused(error.into())),
            }
        }
        Err(unavailable(std::io::Error::other("too much changed at the same time")))
    }

    async fn blob(&self, id: &Id<Blob>) -> Result<ByteStream, ControlError> {
        let blob = self.app.store.find::<Blob>(id.as_str()).await.map_err(unavailable)?;
        let blob = blob.ok_or_else(|| ControlError::Refused("the content is gone".to_owned()))?;
        Ok(self.app.blobs.read(&blob, None).await.map_err(unavailable)?.boxed())
    }

    async fn put(&self, kind: ArtifactKind, content: ByteStream) -> Result<(ArtifactKind, Blob), ControlError> {
        let id = self.app.new_id::<Blob>();
        let blob = self.app.blobs.put(id, self.app.now(), content, MAX_ARTIFACT_BYTES).await.map_err(|error| refused(error.into()))?;
        Ok((kind, blob))
    }

    async fn note_artifacts(&self, ticket: &Ticket, stored: &[(ArtifactKind, Blob)]) -> Result<(), ControlError> {
        self.commit(ticket, |held| {
            let mut run = held.run.record.clone();
            run.artifacts.extend(stored.iter().map(|(kind, blob)| (kind.as_str().to_owned(), blob.id.clone())));
            let batch = stored.iter().fold(Batch::new().check(&held.job), |batch, (_, blob)| batch.insert(blob));
            batch.update(&held.run, &run)
        })
        .await
    }

    async fn end(&self, ticket: &Ticket, outcome: &Outcome) -> Result<Option<Run>, ControlError> {
        let held = self.held(ticket).await?;
        let event = Event::Ended(result(outcome));
        let settled = states::settled(&self.app, &held.run).await.map_err(refused)?;
        // The step finishes the job; the check makes sure that it is the one whose ticket was looked at.
        let also = Batch::new().check(&held.job).and(settled);
        runs::try_step(&self.app, &held.run, &event, None, also, |run| run).await.map_err(refused)
    }
}

#[async_trait]
impl Control for LocalControl {
    async fn claim(&self, runner: &RunnerInfo, wait: Duration) -> Result<Option<Assignment>, ControlError> {
        if self.app.health.is_draining() {
            tokio::time::sleep(wait.min(RECOVERY_WAIT)).await;
            return Err(unavailable("this node takes no new work; ask another one"));
        }
        agents::note(&self.app, &self.queue, runner, self.address.as_deref()).await.map_err(refused)?;
        self.take_back(runner).await.map_err(refused)?;
        let deadline = Instant::now() + wait;
        loop {
            let mut watch = self.app.coordination.watch(runs::JOBS_TOPIC);
            if self.app.health.is_draining() || self.app.health.is_handed_over() {
                return Ok(None);
            }
            let is_paused = self.address.is_none() && self.app.health.is_paused();
            let interval = if self.app.health.takes_work() && !is_paused {
                if let Some(assignment) = self.try_claim(runner).await.map_err(refused)? {
                    return Ok(Some(assignment));
                }
                LOOK_INTERVAL
            } else {
                RECOVERY_WAIT
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            watch.changed(left.min(interval)).await;
        }
    }

    async fn leave(&self, runner: &RunnerInfo) -> Result<(), ControlError> {
        agents::note_leaving(&self.app, &self.queue, &runner.name).await.map_err(refused)
    }

    async fn bring_late_state(&self, job: &Id<Job>, sealed: Bytes) -> Result<(), ControlError> {
        let job = self.app.store.find::<Job>(job.as_str()).await.map_err(unavailable)?;
        // A job that is not over yet may still be adopted, and its state comes with it.
        let job = job.filter(|job| job.queue == self.queue && job.status == JobStatus::Finished).ok_or(ControlError::Fenced)?;
        let key = self.app.vault.open(&Job::SPOOL_KEY.context(&job.id), &job.spool_key).await.map_err(|error| refused(error.into()))?;
        let state = open_snapshot(&Secret::from(STANDARD.encode(&*key)), job.id.as_str(), &sealed);
        let state = state.ok_or_else(|| ControlError::Refused("the snapshot is damaged, or not of this job".to_owned()))?;
        let run = self.app.store.find::<Run>(job.run_id.as_str()).await.map_err(unavailable)?.ok_or(ControlError::Fenced)?;
        states::save_from_run(&self.app, &run, state.into(), Arrival::Late).await.map_err(refused)?;
        tracing::info!(run = %run.id, "the last state of a run that was given up has arrived");
        Ok(())
    }

    async fn adopt(&self, runner: &RunnerInfo, job: &Id<Job>) -> Result<Assignment, ControlError> {
        self.try_adopt(runner, job).await.map_err(refused)?.ok_or(ControlError::Fenced)
    }

    async fn heartbeat(&self, ticket: &Ticket) -> Result<Directive, ControlError> {
        let now = self.app.now();
        self.commit(ticket, |held| Batch::new().update(&held.job, held.job.record.clone().renewed(now))).await?;
        Ok(directive(&self.held(ticket).await?.run))
    }

    async fn await_directive(&self, ticket: &Ticket, wait: Duration) -> Result<Directive, ControlError> {
        let run = self.held(ticket).await?.run;
        let deadline = Instant::now() + wait;
        loop {
            let mut watch = self.app.coordination.watch(&runs::run_topic(&run.id));
            let directive = directive(&self.held(ticket).await?.run);
            let left = deadline.saturating_duration_since(Instant::now());
            if directive != Directive::Continue || left.is_zero() {
                return Ok(directive);
            }
            watch.changed(left.min(LOOK_INTERVAL)).await;
        }
    }

    async fn configuration(&self, ticket: &Ticket) -> Result<ByteStream, ControlError> {
        let held = self.held(ticket).await?;
        let id = held.run.configuration_version_id.as_str();
        let version = self.app.store.find::<ConfigurationVersion>(id).await.map_err(unavailable)?;
        let archive = version.and_then(|version| version.archive.clone());
        self.blob(&archive.ok_or_else(|| ControlError::Refused("the configuration is gone".to_owned()))?).await
    }

    async fn state(&self, ticket: &Ticket) -> Result<Option<Bytes>, ControlError> {
        let held = self.held(ticket).await?;
        let workspace = self.app.store.find::<Workspace>(held.run.workspace_id.as_str()).await.map_err(unavailable)?;
        let Some(id) = workspace.and_then(|workspace| workspace.current_state_version_id.clone()) else { return Ok(None) };
        let version = self.app.store.find::<StateVersion>(id.as_str()).await.map_err(unavailable)?;
        let Some(content) = version.and_then(|version| version.content.clone()) else { return Ok(None) };
        let blob = self.app.store.find::<Blob>(content.as_str()).await.map_err(unavailable)?;
        let blob = blob.ok_or_else(|| ControlError::Refused("the state's content is gone".to_owned()))?;
        let bytes = self.app.blobs.read_all(&blob, self.app.settings.max_state_bytes).await.map_err(unavailable)?;
        Ok(Some(bytes))
    }

    async fn artifact(&self, ticket: &Ticket, kind: ArtifactKind) -> Result<Option<ByteStream>, ControlError> {
        match self.held(ticket).await?.run.artifacts.get(kind.as_str()) {
            Some(id) => Ok(Some(self.blob(id).await?)),
            None => Ok(None),
        }
    }

    async fn save_artifact(&self, ticket: &Ticket, kind: ArtifactKind, content: ByteStream) -> Result<(), ControlError> {
        self.held(ticket).await?;
        let stored = self.put(kind, content).await?;
        self.note_artifacts(ticket, &[stored]).await
    }

    /// In one commit: several would each find that another one has changed the run.
    async fn save_artifacts(&self, ticket: &Ticket, artifacts: &[(ArtifactKind, Bytes)]) -> Result<(), ControlError> {
        self.held(ticket).await?;
        let puts = artifacts.iter().map(|(kind, content)| self.put(*kind, stream::iter([Ok(content.clone())]).boxed()));
        let stored = try_join_all(puts).await?;
        self.note_artifacts(ticket, &stored).await
    }

    async fn log_length(&self, ticket: &Ticket) -> Result<u64, ControlError> {
        let held = self.held(ticket).await?;
        logs::length(&self.app, &held.run, held.job.phase).await.map_err(refused)
    }

    async fn append_log(&self, ticket: &Ticket, offset: u64, content: Bytes) -> Result<(), ControlError> {
        let Held { job, run } = self.held(ticket).await?;
        logs::append(&self.app, &run, job.phase, offset, &content, Fence::of(job)).await.map_err(refused)
    }

    async fn save_state(&self, ticket: &Ticket, content: Bytes) -> Result<(), ControlError> {
        let Held { job, run } = self.held(ticket).await?;
        states::save_from_run(&self.app, &run, content, Arrival::InTime(Fence::of(job))).await.map_err(refused)
    }

    async fn report(&self, ticket: &Ticket, outcome: Outcome) -> Result<(), ControlError> {
        for _ in 0..MAX_ATTEMPTS {
            if let Some(run) = self.end(ticket, &outcome).await? {
                super::after_phase(&self.app, &run).await;
                return Ok(());
            }
        }
        Err(unavailable(std::io::Error::other("too much changed at the same time")))
    }

    async fn is_over(&self, run: &Id<Run>) -> Result<bool, ControlError> {
        let run = self.app.store.find::<Run>(run.as_str()).await.map_err(unavailable)?;
        Ok(run.is_none_or(|run| run.status.is_final()))
    }
}

/// What a run's effects mean for the runner that is at work on it.
fn directive(run: &Run) -> Directive {
    run.effects().iter().fold(Directive::Continue, |directive, effect| match effect {
        Effect::Interrupt(_) => Directive::Interrupt,
        Effect::Kill(_) => Directive::Kill,
        Effect::Dispatch(_) | Effect::Release => directive,
    })
}

fn result(outcome: &Outcome) -> PhaseResult {
    match outcome {
        Outcome::Planned { summary } | Outcome::Applied { summary } => PhaseResult::Finished(*summary),
        Outcome::Failed { message, summary } => PhaseResult::Failed { reason: message.clone(), summary: *summary },
        Outcome::Canceled { summary } => PhaseResult::Interrupted(*summary),
    }
}

fn unavailable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ControlError {
    ControlError::Unavailable(error.into())
}

/// What a runner can do about an error: nothing about a wrong request, try again about everything else.
fn refused(error: ApiError) -> ControlError {
    match error {
        ApiError::Invalid(_) | ApiError::BadRequest(_) | ApiError::Refused(_) | ApiError::State(_) | ApiError::TooLarge { .. } => {
            ControlError::Refused(error.to_string())
        }
        ApiError::NotFound => ControlError::Fenced,
        // What no store takes is as wrong the next time.
        ApiError::Internal(source) if matches!(source.downcast_ref(), Some(Error::Invalid { .. })) => {
            ControlError::Refused(source.to_string())
        }
        other => unavailable(other),
    }
}

/// Whether a value of the job itself is what cannot be opened, wherever that is tried.
fn is_unreadable(error: &ApiError) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.into_iter().any(|cause| {
        let is_sealed_wrongly =
            |error: &VaultError| matches!(error, VaultError::Tampered | VaultError::UnknownKey(_) | VaultError::KeyGone(_));
        cause.downcast_ref().is_some_and(is_sealed_wrongly) || cause.is::<std::string::FromUtf8Error>()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use tfe_core::{
        run::{RunOptions, Status},
        secret::Sealed,
        variable::{Category, Variable},
    };

    use super::*;
    use crate::trial::Trial;

    /// A trial with a run whose workspace has a damaged variable, and behind it one that has none.
    async fn damaged() -> (Trial, Versioned<Run>, Versioned<Run>) {
        let trial = Trial::new().await;
        let (damaged, other) = (trial.workspace("damaged").await, trial.workspace("other").await);
        trial
            .commit(Batch::new().insert(&Variable {
                id: trial.app.new_id(),
                created_at: trial.app.now(),
                workspace_id: damaged.clone(),
                key: "token".to_owned(),
                value: Some(Sealed::new("damaged".to_owned())),
                description: None,
                category: Category::Env,
                hcl: false,
                sensitive: true,
                version_id: String::new(),
            }))
            .await;
        let first = trial.queue(&damaged, RunOptions::default()).await;
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = trial.queue(&other, RunOptions::default()).await;
        (trial, first, second)
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_nobody_can_be_given_ends_and_the_next_one_is_given() {
        let (trial, first, second) = damaged().await;
        let given = trial.claim().await.unwrap().expect("the second run is queued");
        assert_eq!(given.run, second.id);
        let first = trial.find(&first.id).await;
        assert_eq!((first.status, first.error.as_deref()), (Status::Errored, Some(CANNOT_BE_GIVEN)));
        let workspace = trial.find(&first.workspace_id).await;
        assert_eq!((&workspace.current_run_id, &workspace.lock), (&None, &None), "the workspace is free");
        assert!(runs::jobs(&trial.app, &first).await.unwrap().iter().all(|job| job.status == JobStatus::Finished));
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_vault_is_away_the_queue_stays_as_it_is() {
        let (trial, first, second) = damaged().await;
        trial.vault.is_away.store(true, Relaxed);
        assert!(matches!(trial.claim().await, Err(ControlError::Unavailable(_))));
        for run in [&first, &second] {
            assert_eq!(trial.find(&run.id).await.status, Status::PlanQueued);
        }
        trial.vault.is_away.store(false, Relaxed);
        assert_eq!(trial.claim().await.unwrap().unwrap().run, second.id);
    }

    #[test]
    fn what_no_store_takes_is_refused_and_not_asked_for_again() {
        let invalid = Error::Invalid { kind: "state_outputs", reason: "the body holds a NUL character".to_owned() };
        assert!(matches!(refused(invalid.into()), ControlError::Refused(reason) if reason.contains("NUL")));
        assert!(matches!(refused(Error::unavailable("away").into()), ControlError::Unavailable(_)));
    }
}
