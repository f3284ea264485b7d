//! Driving runs: every change of a run goes through [`step`].
//!
//! A step is one commit: the run, the workspace it holds or frees, and its jobs change together or not at all, each
//! against the version that was read. Hints follow the commit; when they are lost, the reconciler looks by itself.

use std::time::Duration;

use tfe_core::{
    configuration::ConfigurationVersion,
    duty::DUTIES,
    error::Refused,
    event::RunEvent,
    id::Id,
    job::{Job, JobStatus, Priority},
    run::{Effect, Event, Phase, PhaseRecord, Run, RunOptions, RunVariable, Status, admissible, is_superseded_by, ready_since},
    user::User,
    workspace::{Lock, LockHolder, Workspace},
};
use tfe_queue::Hint;
use tfe_storage::{Batch, Error, Query, StoreExt, Versioned};

use super::{admit_next, restored, versions};
use crate::{
    app::App,
    error::{ApiError, chain},
};

/// How often a step is decided anew because something changed in between: far more than there are writers of a run.
const MAX_STEP_ATTEMPTS: u32 = 50;
/// Longest message of a run; longer ones are cut, since some clients send whole commit messages.
const MAX_MESSAGE_LENGTH: usize = 4096;
/// Most waiting runs of a workspace that are looked at to admit the next ones.
const MAX_WAITING: u64 = 1000;

/// What a new run is made of.
#[derive(Debug)]
pub(crate) struct NewRun {
    pub(crate) configuration: Id<ConfigurationVersion>,
    pub(crate) options: RunOptions,
    pub(crate) variables: Vec<RunVariable>,
    pub(crate) message: String,
    pub(crate) source: String,
    pub(crate) created_by: Option<Id<User>>,
}

/// Queues a run. It has its place in the workspace's order when this returns, and has begun if it was its turn.
pub(crate) async fn create(app: &App, workspace: &Id<Workspace>, new: NewRun) -> Result<Versioned<Run>, ApiError> {
    let run_id = app.new_id::<Run>();
    let mut options = new.options;
    options.terraform_version = version(app, workspace, &options.terraform_version).await?;
    let variables = if new.variables.is_empty() {
        None
    } else {
        let text = serde_json::to_vec(&new.variables).map_err(ApiError::internal)?;
        Some(app.vault.seal(&Run::VARIABLES.context(&run_id), &text).await?)
    };
    let mut run = Run {
        id: run_id,
        created_at: app.now(),
        organization_id: Id::from(""),
        workspace_id: workspace.clone(),
        configuration_version_id: new.configuration,
        sequence: 0,
        status: Status::Pending,
        reached: [("plan_queueable".to_owned(), app.now())].into(),
        options,
        variables,
        message: new.message.chars().take(MAX_MESSAGE_LENGTH).collect(),
        source: new.source,
        created_by: new.created_by,
        confirmed_by: None,
        cancel: None,
        error: None,
        plan_id: app.new_id(),
        plan: PhaseRecord::default(),
        apply_id: app.new_id(),
        apply: PhaseRecord::default(),
        artifacts: [].into(),
    };
    for _ in 0..MAX_STEP_ATTEMPTS {
        let current = app.store.find::<Workspace>(workspace.as_str()).await?.ok_or(ApiError::NotFound)?;
        let mut next = current.record.clone();
        next.run_count += 1;
        run.sequence = next.run_count;
        run.organization_id = next.organization_id.clone();
        let event = history(app, &run, Status::Pending.as_str(), run.created_by.clone());
        match app.store.commit(Batch::new().update(&current, &next).insert(&run).insert(&event)).await {
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                // The run is queued whatever fails from here on: an error would make the client queue another one.
                if let Err(error) = end_superseded(app, &run).await {
                    tracing::warn!(run = %run.id, error = chain(&error), "older runs that a new one makes pointless go on");
                }
                admit_next(app, workspace).await;
                let present = app.store.find::<Run>(run.id.as_str()).await.ok().flatten();
                return Ok(present.unwrap_or_else(|| Versioned::inserted(run)));
            }
        }
    }
    Err(ApiError::Busy)
}

/// The version that the run gets; from now on it is the run's, so that its apply gets what its plan had.
async fn version(app: &App, workspace: &Id<Workspace>, wanted: &str) -> Result<String, ApiError> {
    let workspace = app.store.find::<Workspace>(workspace.as_str()).await?.ok_or(ApiError::NotFound)?;
    versions::resolve(app, workspace.settings.engine, wanted).await
}

/// Lets the waiting runs of a workspace go on whose turn it is.
pub(crate) async fn admit(app: &App, workspace: &Id<Workspace>) -> Result<(), ApiError> {
    admit_with(app, workspace, Batch::new()).await
}

/// The same, each together with `also`.
pub(crate) async fn admit_with(app: &App, workspace: &Id<Workspace>, also: Batch) -> Result<(), ApiError> {
    let Some(current) = app.store.find::<Workspace>(workspace.as_str()).await? else { return Ok(()) };
    let waiting = waiting(app, workspace).await?;
    let turn = admissible(&current, waiting.iter().map(|run| &run.record));
    for run in turn {
        match step(app, &run.id, &Event::Admitted, None, also.clone()).await {
            // Somebody else admitted it, cancelled it, or took the workspace.
            Ok(_) | Err(ApiError::Refused(_) | ApiError::Busy) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The runs that wait for a workspace.
pub(crate) async fn waiting(app: &App, workspace: &Id<Workspace>) -> Result<Vec<Versioned<Run>>, ApiError> {
    let waiting = Query::of::<Run>().equals("workspace_id", workspace).any_of("status", [Status::Pending, Status::Confirmed]);
    Ok(app.store.list::<Run>(waiting.limit(MAX_WAITING)).await?.items)
}

/// Ends the older runs that a new one makes pointless.
async fn end_superseded(app: &App, newer: &Run) -> Result<(), ApiError> {
    if newer.options.branch.is_none() {
        return Ok(());
    }
    let open = [Status::Pending, Status::PlanQueued, Status::Planning];
    let older = Query::of::<Run>().equals("workspace_id", &newer.workspace_id).any_of("status", open).limit(MAX_WAITING);
    for run in app.store.list::<Run>(older).await?.items.iter().filter(|run| is_superseded_by(run, newer)) {
        match step(app, &run.id, &Event::CancelRequested, None, Batch::new()).await {
            Ok(_) | Err(ApiError::Refused(_) | ApiError::Busy) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes a run take an event: decides, commits together with `also`, and spreads the word.
/// `also` must hold no write of the run, its workspace or its jobs.
pub(crate) async fn step(app: &App, id: &Id<Run>, event: &Event, actor: Option<&Id<User>>, also: Batch) -> Result<Run, ApiError> {
    for _ in 0..MAX_STEP_ATTEMPTS {
        let run = app.store.find::<Run>(id.as_str()).await?.ok_or(ApiError::NotFound)?;
        if let Some(next) = try_step(app, &run, event, actor, also.clone(), |next| next).await? {
            return Ok(next);
        }
    }
    Err(ApiError::Busy)
}

/// One attempt of [`step`] on a run that was read; `None` if something changed in between, [`ApiError::Busy`] if `also` checks a duty
/// that another node has by now. `finish` may add to the
/// run what the caller commits with it.
pub(crate) async fn try_step(
    app: &App,
    run: &Versioned<Run>,
    event: &Event,
    actor: Option<&Id<User>>,
    also: Batch,
    finish: impl FnOnce(Run) -> Run,
) -> Result<Option<Run>, ApiError> {
    let step = restored::held(app, run, event).await?.on(event, app.now())?;
    let next = finish(step.run);
    let action = if next.status == run.status { "cancel_requested" } else { next.status.as_str() };
    let entry = history(app, &next, action, actor.cloned());
    let batch = Batch::new().update(run, &next).insert(&entry).and(also);
    let batch = batch.and(workspace_writes(app, &next).await?).and(job_writes(app, &next, &step.effects).await?);
    match app.store.commit(batch).await {
        Ok(()) => {
            announce(app, &next, &step.effects).await;
            Ok(Some(next))
        }
        // Another node's: to try again would be as futile.
        Err(Error::Conflict { kind, .. }) if kind == DUTIES.name => Err(ApiError::Busy),
        Err(Error::Conflict { .. } | Error::AlreadyExists { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What the workspace must look like after the step: held by the run exactly while the run needs it.
async fn workspace_writes(app: &App, run: &Run) -> Result<Batch, ApiError> {
    let Some(current) = app.store.find::<Workspace>(run.workspace_id.as_str()).await? else { return Ok(Batch::new()) };
    let mut next = current.record.clone();
    let holder = LockHolder::Run(run.id.clone());
    let is_current = current.current_run_id.as_ref() == Some(&run.id);
    if run.holds_workspace() && !is_current {
        if current.current_run_id.is_some() || current.lock.is_some() {
            return Err(Refused::because("another run or person holds the workspace").into());
        }
        next.current_run_id = Some(run.id.clone());
        next.latest_run_id = Some(run.id.clone());
        next.lock = Some(Lock { holder, reason: format!("Locked by run {}", run.id), since: app.now() });
    } else if !run.holds_workspace() && is_current {
        next.current_run_id = None;
        next.lock = next.lock.filter(|lock| lock.holder != holder);
    } else {
        return Ok(Batch::new());
    }
    next.updated_at = app.now();
    Ok(Batch::new().update(&current, &next))
}

/// What the jobs of the run must look like after the step: only the active phase's may be open.
async fn job_writes(app: &App, run: &Run, effects: &[Effect]) -> Result<Batch, ApiError> {
    let jobs = jobs(app, run).await?;
    let over = jobs.iter().filter(|job| job.status != JobStatus::Finished && run.active_phase() != Some(job.phase));
    let mut batch = over.fold(Batch::new(), |batch, job| batch.update(job, job.record.clone().finished()));
    for effect in effects {
        if let Effect::Dispatch(phase) = effect {
            batch = match jobs.iter().find(|job| job.phase == *phase) {
                Some(job) => batch.update(job, job.record.clone().requeued()),
                None => batch.insert(&new_job(app, run, *phase).await?),
            };
        }
    }
    Ok(batch)
}

async fn new_job(app: &App, run: &Run, phase: Phase) -> Result<Job, ApiError> {
    let mut key = [0_u8; tfe_core::cipher::KEY_LENGTH];
    app.entropy.fill(&mut key);
    let id = app.new_id::<Job>();
    let workspace = app.store.find::<Workspace>(run.workspace_id.as_str()).await?.ok_or(ApiError::NotFound)?;
    let spool_key = app.vault.seal(&Job::SPOOL_KEY.context(&id), &key).await?;
    Ok(Job {
        id,
        created_at: ready_since(run, phase, &workspace, app.now()),
        run_id: run.id.clone(),
        workspace_id: run.workspace_id.clone(),
        organization_id: run.organization_id.clone(),
        queue: workspace.settings.queue().to_owned(),
        priority: Priority::of(phase, run),
        phase,
        status: JobStatus::Queued,
        fencing_token: 0,
        attempts: 0,
        lease: None,
        token_digest: None,
        spool_key,
    })
}

/// Puts the queued jobs of a workspace before the workers that it has now.
pub(crate) async fn place_all(app: &App, workspace: &Workspace) -> Result<(), ApiError> {
    let queued = Query::of::<Run>().equals("workspace_id", &workspace.id).any_of("status", [Status::PlanQueued, Status::ApplyQueued]);
    for run in app.store.list::<Run>(queued.limit(MAX_WAITING)).await?.items {
        for job in jobs(app, &run).await? {
            place(app, &job, workspace, Batch::new()).await?;
        }
    }
    Ok(())
}

/// Puts a job, if it is queued, before the workers that its workspace has now, together with `also`.
pub(crate) async fn place(app: &App, job: &Versioned<Job>, workspace: &Workspace, also: Batch) -> Result<(), ApiError> {
    let queue = workspace.settings.queue();
    if job.status != JobStatus::Queued || job.queue == queue {
        return Ok(());
    }
    tracing::info!(job = %job.id, run = %job.run_id, from = job.queue, to = queue, "a job follows its workspace to other workers");
    match app.store.commit(also.update(job, Job { queue: queue.to_owned(), ..job.record.clone() })).await {
        Ok(()) => app.coordination.notify(JOBS_TOPIC),
        // It was taken, or is over.
        Err(Error::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The jobs of a run: at most one for each phase.
pub(crate) async fn jobs(app: &App, run: &Run) -> Result<Vec<Versioned<Job>>, ApiError> {
    Ok(app.store.list::<Job>(Query::of::<Job>().equals("run_id", &run.id)).await?.items)
}

async fn announce(app: &App, run: &Run, effects: &[Effect]) {
    app.coordination.notify(&run_topic(&run.id));
    app.coordination.notify(&log_topic(run.plan_id.as_str()));
    app.coordination.notify(&log_topic(run.apply_id.as_str()));
    if effects.iter().any(|effect| matches!(effect, Effect::Dispatch(_))) {
        // One topic for all queues: a worker that looks in vain has lost a query.
        app.coordination.notify(JOBS_TOPIC);
    }
    if effects.contains(&Effect::Release) {
        let hint = Hint::WorkspaceChanged { workspace: run.workspace_id.to_string() };
        if let Err(error) = app.queue.publish(hint, Duration::ZERO).await {
            tracing::debug!(%error, "a hint was lost; the reconciler's tick replaces it");
        }
    }
}

/// The topic on which new jobs are announced.
pub(crate) const JOBS_TOPIC: &str = "jobs";

/// The topic of a run's changes.
pub(crate) fn run_topic(run: &Id<Run>) -> String {
    format!("run:{run}")
}

/// The topic of a log's growth.
pub(crate) fn log_topic(log: &str) -> String {
    format!("log:{log}")
}

fn history(app: &App, run: &Run, action: &str, actor: Option<Id<User>>) -> RunEvent {
    let description = run.error.clone().filter(|_| run.status == Status::Errored);
    RunEvent { id: app.new_id(), created_at: app.now(), run_id: run.id.clone(), action: action.to_owned(), description, actor }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::Trial;

    #[tokio::test(start_paused = true)]
    async fn a_run_that_was_queued_is_answered_whatever_fails_afterwards() {
        let trial = Trial::new().await;
        let workspace = trial.workspace("app").await;
        trial.damaged::<Run>(serde_json::json!({ "workspace_id": workspace, "status": "pending" })).await;
        let options = RunOptions { plan_only: true, branch: Some("main".to_owned()), ..RunOptions::default() };
        let run = trial.queue(&workspace, options).await;
        assert_eq!(trial.find(&run.id).await.status, Status::Pending, "it waits for a look that succeeds");
    }
}
