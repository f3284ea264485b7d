//! The queue of a workspace: which waiting runs may go on now.

use super::{Phase, Run, Status};
use crate::{time::Timestamp, workspace::Workspace};

/// The waiting runs that may go on, in the order in which to admit them.
///
/// Plan-only runs and plans to be saved change nothing and never wait. Of the others at most one is admitted, and only
/// while nobody holds the workspace: a confirmed saved plan first, since a person waits for it, else the oldest.
pub fn admissible<'r>(workspace: &Workspace, waiting: impl IntoIterator<Item = &'r Run>) -> Vec<&'r Run> {
    let mut waiting: Vec<&Run> = waiting.into_iter().filter(|run| run.waits_for_workspace()).collect();
    waiting.sort_by_key(|run| (run.status != Status::Confirmed, run.sequence));
    let (exclusive, free): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|run| needs_workspace(run));
    let is_free = workspace.lock.is_none() && workspace.current_run_id.is_none();
    free.into_iter().chain(exclusive.into_iter().take(usize::from(is_free))).collect()
}

/// Since when the phase could be done of a run that is let in now: since the run waits for that, or since the workspace is free, if that
/// was later. So a run whose turn is noticed late, since whoever should have noticed it died, keeps its place among those that wait
/// for a worker.
pub fn ready_since(run: &Run, phase: Phase, workspace: &Workspace, now: Timestamp) -> Timestamp {
    let (waits_since, needs_workspace) = match phase {
        Phase::Plan => (run.created_at, needs_workspace(run)),
        Phase::Apply => (run.reached.get(Status::Confirmed.as_str()).copied().unwrap_or(now), true),
    };
    let ready = if needs_workspace { waits_since.max(workspace.updated_at) } else { waits_since };
    // Another node's clock may be ahead.
    ready.min(now)
}

/// Whether a newer run makes this one pointless: both only look, at the same branch. Of two such runs only the newer
/// one's answer is wanted.
pub fn is_superseded_by(older: &Run, newer: &Run) -> bool {
    let only_look = older.options.plan_only && newer.options.plan_only;
    let same_branch = older.options.branch.is_some() && older.options.branch == newer.options.branch;
    only_look && same_branch && older.workspace_id == newer.workspace_id && older.sequence < newer.sequence && !older.status.is_final()
}

/// Whether the run, once admitted, holds the workspace.
pub(super) fn needs_workspace(run: &Run) -> bool {
    run.status == Status::Confirmed || !(run.options.plan_only || run.options.save_plan)
}
