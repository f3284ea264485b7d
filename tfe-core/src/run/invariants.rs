//! What holds of runs, their workspace and their jobs after every commit, whoever made it and whatever failed.
//!
//! The machine decides what is to be written; these predicates say what may never be read. They know nothing of how it came to be,
//! so that a simulation, a test or a doctor can hold them against any records.

use super::{Phase, Run, Status, queue::needs_workspace};
use crate::{
    job::{Job, JobStatus},
    workspace::{LockHolder, Workspace},
};

/// A record that may not exist, in words for whoever looks for the cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub String);

/// What an invariant says.
pub type Verdict = Result<(), Violation>;

/// A run moves along the table of statuses, and what it was made of never changes.
pub fn moves_along_the_table(before: &Run, after: &Run) -> Verdict {
    let moved = before.status != after.status;
    require(!moved || before.status.successors().contains(&after.status), || {
        format!("run {} went from {} to {}", after.id, before.status, after.status)
    })?;
    let same = before.sequence == after.sequence && before.workspace_id == after.workspace_id && before.options == after.options;
    require(same, || format!("run {} is not what was asked for any more", after.id))?;
    for phase in [Phase::Plan, Phase::Apply] {
        let (old, new) = (before.phase(phase), after.phase(phase));
        require(!old.status.is_final() || old.status == new.status, || format!("the {phase:?} of {} was over and changed", after.id))?;
        require(old.log.is_none() || old.log == new.log, || format!("the joined log of the {phase:?} of {} was replaced", after.id))?;
    }
    Ok(())
}

/// A workspace is held by the one run that needs it, under that run's lock, and by none when no run needs it.
/// `runs` are those of the workspace, all or at least those that are not over.
pub fn is_held_by_who_needs_it<'r>(workspace: &Workspace, runs: impl IntoIterator<Item = &'r Run>) -> Verdict {
    let mut holder = None;
    for run in runs.into_iter().filter(|run| run.holds_workspace()) {
        require(holder.is_none(), || format!("{} and {holder:?} both hold {}", run.id, workspace.id))?;
        holder = Some(run.id.clone());
    }
    require(workspace.current_run_id == holder, || {
        format!("the current run of {} is {:?}, but {holder:?} needs it", workspace.id, workspace.current_run_id)
    })?;
    let locked_by = workspace.lock.as_ref().and_then(|lock| match &lock.holder {
        LockHolder::Run(run) => Some(run.clone()),
        LockHolder::User(_) | LockHolder::Organization(_) => None,
    });
    require(locked_by == holder, || format!("{} is locked by the run {locked_by:?}, but {holder:?} holds it", workspace.id))
}

/// The run is admitted in its turn: of those that waited when it was decided and that need the workspace, confirmed saved plans go
/// first, then the oldest.
pub fn is_admitted_in_turn<'r>(admitted: &Run, waiting: impl IntoIterator<Item = &'r Run>) -> Verdict {
    let place = |run: &Run| (run.status != Status::Confirmed, run.sequence);
    let ahead = waiting.into_iter().find(|other| other.waits_for_workspace() && needs_workspace(other) && place(other) < place(admitted));
    let is_in_turn = !needs_workspace(admitted) || ahead.is_none();
    require(is_in_turn, || format!("run {} was admitted before {:?}", admitted.id, ahead.map(|run| &run.id)))
}

/// Only the job of the active phase is open: queued while the run is queued, claimed while it is at work.
pub fn has_the_jobs_it_needs<'j>(run: &Run, jobs: impl IntoIterator<Item = &'j Job>) -> Verdict {
    let open: Vec<_> = jobs.into_iter().filter(|job| job.status != JobStatus::Finished).map(|job| (job.phase, job.status)).collect();
    let expected = match run.status {
        Status::PlanQueued => vec![(Phase::Plan, JobStatus::Queued)],
        Status::Planning => vec![(Phase::Plan, JobStatus::Claimed)],
        Status::ApplyQueued => vec![(Phase::Apply, JobStatus::Queued)],
        Status::Applying => vec![(Phase::Apply, JobStatus::Claimed)],
        _ => vec![],
    };
    require(open == expected, || format!("run {} is {} and has the open jobs {open:?}", run.id, run.status))
}

/// A job's token never falls and rises with each new holder, and what is over stays over.
pub fn is_fenced(before: &Job, after: &Job) -> Verdict {
    require(after.fencing_token >= before.fencing_token, || format!("the token of {} fell", after.id))?;
    let changed_hands = after.status == JobStatus::Claimed && before.token_digest != after.token_digest;
    require(!changed_hands || after.fencing_token > before.fencing_token, || format!("{} has a new holder under an old token", after.id))?;
    let is_revived = before.status == JobStatus::Finished && after.status == JobStatus::Claimed;
    require(!is_revived, || format!("{} was over and is claimed", after.id))
}

/// At most one apply of a workspace is in a runner's hands. `jobs` are those of the workspace.
pub fn is_applied_once_at_a_time<'j>(workspace: &Workspace, jobs: impl IntoIterator<Item = &'j Job>) -> Verdict {
    let applies = jobs.into_iter().filter(|job| job.phase == Phase::Apply && job.status == JobStatus::Claimed).count();
    require(applies <= 1, || format!("{applies} applies of {} are at work", workspace.id))
}

fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation(otherwise())) }
}
