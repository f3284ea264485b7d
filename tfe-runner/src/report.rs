//! What a supervised job amounts to: its outcome, and the documents of a plan.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde_json::Value;
use tfe_core::{
    plan::{self, ApplyProgress, Summary},
    run::Phase,
    secret::Secret,
};

use crate::{
    artifacts,
    control::{Control, ControlError, Ticket},
    job::{ArtifactKind, Assignment, Outcome},
    paths::{Paths, lock_file, names},
    prepare::append,
    recover,
    retry::until_acknowledged,
    supervisor::{
        STATE,
        instructions::{Done, StepEnd, StepName},
    },
};

/// Largest document that a run may leave.
const MAX_DOCUMENT_BYTES: u64 = 1 << 30;
/// How much of a failed `init` is shown.
const MAX_INIT_BYTES: u64 = 1 << 20;

/// The mark in the spool directory that the log has its last words.
const COMPLETED: &str = "log.completed";
/// What to do about an apply that was cut off.
const PLAN_AGAIN: &str = "Check what is really there, then plan again";

/// What the log should say before it ends, beyond what the engine wrote. It is said once, however often the job is taken up again.
pub(crate) fn complete_log(paths: &Paths, assignment: &Assignment, done: &Done) -> io::Result<()> {
    let mark = fs::OpenOptions::new().write(true).create_new(true).open(paths.spool.join(COMPLETED));
    if mark.is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        return Ok(());
    }
    let log = paths.log(assignment.phase);
    let is_failed_init = |step: &StepEnd| step.name == StepName::Init && !step.is_good();
    if done.steps.iter().any(is_failed_init) {
        let init = artifacts::read(&paths.work, &paths.output(names::INIT_LOG), MAX_INIT_BYTES)?.unwrap_or_default();
        append(&log, &init)?;
    }
    let excess = done.excess.map(|excess| excess.to_string());
    match excess.or_else(|| done.timed_out.map(|timed_out| timed_out.to_string())).as_ref().or(done.error.as_ref()) {
        Some(error) => append(&log, format!("\nError: {error}\n").as_bytes()),
        // A run that was canceled has no error that could say it.
        None if done.stopped && done.steps.iter().any(|step| step.signal.is_some()) && assignment.phase == Phase::Apply => {
            let engine = assignment.spec.engine.program();
            let left = left(&progress(paths), assignment, paths);
            append(&log, format!("\nError: {engine} was killed; the state is as last saved{left}. {PLAN_AGAIN}\n").as_bytes())
        }
        None => Ok(()),
    }
}

/// The outcome of a job, with the documents of a plan uploaded, in which `secrets` are not shown.
pub(crate) async fn outcome(
    control: &Arc<dyn Control>,
    ticket: &Ticket,
    assignment: &Assignment,
    secrets: &[Secret],
    paths: &Paths,
    done: &Done,
) -> Result<Outcome, ControlError> {
    let progress = if assignment.phase == Phase::Apply { progress(paths) } else { ApplyProgress::default() };
    let failed = |message: String| Outcome::Failed { message, summary: progress.summary() };
    let engine = assignment.spec.engine.program();
    let left = || left(&progress, assignment, paths);
    if done.orphaned {
        let what = format!("the worker of this apply died; {engine} was interrupted, and the state that was reached is saved");
        return Ok(failed(what + &left()));
    }
    if let Some(excess) = done.excess {
        return Ok(failed(excess.to_string() + &left()));
    }
    if let Some(timed_out) = done.timed_out {
        return Ok(failed(timed_out.to_string() + &left()));
    }
    if let Some(step) = done.steps.iter().find(|step| !step.is_good()) {
        return Ok(match step.signal {
            _ if done.stopped => Outcome::Canceled { summary: progress.summary() },
            Some(signal) => failed(format!("{engine} was killed by signal {signal}; the state is as last saved{}. {PLAN_AGAIN}", left())),
            None => failed(format!("{engine} {} failed; its log says why", verb(step.name))),
        });
    }
    if done.stopped {
        return Ok(Outcome::Canceled { summary: progress.summary() });
    }
    if let Some(error) = &done.error {
        return Ok(failed(error.clone()));
    }
    match assignment.phase {
        Phase::Apply if progress.summary().has_changes && !paths.spool.join(STATE).exists() => Ok(failed(
            "the apply changed things, but its state was not written where it is kept; compare the run's log with the real objects, \
             and import what is missing in the state"
                .to_owned(),
        )),
        Phase::Apply => Ok(Outcome::Applied { summary: progress.summary() }),
        Phase::Plan => match documents(assignment, secrets, paths) {
            Ok((summary, documents)) => match until_acknowledged(|| control.save_artifacts(ticket, &documents)).await {
                Err(ControlError::Refused(reason)) => Ok(failed(format!("the plan's documents cannot be stored: {reason}"))),
                saved => saved.map(|()| Outcome::Planned { summary }),
            },
            Err(error) => Ok(failed(format!("the plan's documents cannot be read: {error}; start a new run"))),
        },
    }
}

/// The outcome of an apply whose last state is not taken, and kept here instead.
pub(crate) fn unsaved(outcome: &Outcome, reason: &str, runner: &str, kept: &Path) -> Outcome {
    let message = format!(
        "the state that this apply reached cannot be stored: {reason}. It is kept, sealed, on {runner} in {}. Before you apply again, \
         have an operator open it (tfe-server open-state) and push it, since what is stored is older",
        kept.display()
    );
    Outcome::Failed { message, summary: *outcome.summary() }
}

/// The outcome of an apply whose supervisor died.
pub(crate) fn orphaned(assignment: &Assignment, paths: &Paths) -> Outcome {
    let progress = progress(paths);
    let left = left(&progress, assignment, paths);
    let message = format!("the supervisor of this apply died; the state that was reached is saved{left}. {PLAN_AGAIN}");
    Outcome::Failed { message, summary: progress.summary() }
}

/// What an apply that was cut off may have left beside the state. Empty if nothing.
fn left(progress: &ApplyProgress, assignment: &Assignment, paths: &Paths) -> String {
    let state = if assignment.phase == Phase::Apply { recover::newest_state(paths, assignment) } else { None };
    let mut left = progress.unfinished();
    left.extend(progress.unrecorded(&String::from_utf8_lossy(&state.unwrap_or_default())));
    match left {
        none if none.is_empty() => String::new(),
        some => format!(". These were being changed and may exist without being in the state: {}", some.join(", ")),
    }
}

/// What an apply's log says that happened.
fn progress(paths: &Paths) -> ApplyProgress {
    let mut progress = ApplyProgress::default();
    let log = artifacts::read(&paths.work, &paths.log(Phase::Apply), MAX_DOCUMENT_BYTES).ok().flatten().unwrap_or_default();
    for line in String::from_utf8_lossy(&log).lines() {
        progress.line(line);
    }
    progress
}

fn documents(assignment: &Assignment, secrets: &[Secret], paths: &Paths) -> io::Result<(Summary, Vec<(ArtifactKind, Bytes)>)> {
    let read = |path: PathBuf| artifacts::read(&paths.work, &path, MAX_DOCUMENT_BYTES)?.ok_or(io::Error::from(io::ErrorKind::NotFound));
    let (plan_file, shown) = (read(paths.made(names::PLAN))?, read(paths.output(names::PLAN_JSON))?);
    let schemas = read(paths.output(names::SCHEMAS))?;
    let (document, schemas_document): (Value, Value) = (serde_json::from_slice(&shown)?, serde_json::from_slice(&schemas)?);
    let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
    let redacted = serde_json::to_vec(&plan::redacted(&document, &schemas_document, &secrets))?;
    let mut documents = vec![
        (ArtifactKind::PlanFile, plan_file.into()),
        (ArtifactKind::PlanJson, shown.into()),
        (ArtifactKind::PlanRedacted, redacted.into()),
        (ArtifactKind::ProviderSchemas, schemas.into()),
    ];
    let directory = artifacts::directory(&paths.work, &paths.configuration(), &assignment.spec.working_directory);
    let optional = [(ArtifactKind::LockFile, lock_file(&directory)), (ArtifactKind::GeneratedConfiguration, paths.made(names::GENERATED))];
    for (kind, path) in optional {
        if let Some(content) = artifacts::read(&paths.work, &path, MAX_DOCUMENT_BYTES)? {
            documents.push((kind, content.into()));
        }
    }
    Ok((plan::summary(&document), documents))
}

fn verb(step: StepName) -> &'static str {
    match step {
        StepName::Init => "init",
        StepName::Plan => "plan",
        StepName::ShowPlan => "show",
        StepName::Schemas => "providers schema",
        StepName::Apply => "apply",
    }
}
