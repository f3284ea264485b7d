//! What needs several records at once or is asked for from several places. Handlers, loops and the runner's door
//! call these; none of them knows HTTP.

pub(crate) mod agents;
pub(crate) mod assignments;
pub(crate) mod control;
pub(crate) mod duties;
pub(crate) mod fence;
pub(crate) mod logs;
pub(crate) mod nodes;
pub(crate) mod passwords;
pub(crate) mod restored;
pub(crate) mod rewrap;
pub(crate) mod runs;
pub(crate) mod setup;
pub(crate) mod state_reader;
pub(crate) mod states;
pub(crate) mod support;
pub(crate) mod tokens;
pub(crate) mod versions;
pub(crate) mod waiting;
pub(crate) mod walk;
pub(crate) mod workspaces;

use tfe_core::{
    id::Id,
    run::{Phase, Run},
    workspace::Workspace,
};

use crate::{app::App, error::chain};

/// What follows when a phase ended: the next run of the workspace begins, and the log becomes one blob.
/// If the process dies first, the reconciler does the same.
///
/// The next run begins before this returns, so that a server which finishes what it was asked does not leave it to a later
/// round, in which others overtake that run. Both are tasks of their own, since whoever asked may go away.
pub(crate) async fn after_phase(app: &App, run: &Run) {
    tokio::spawn(join_logs(app.clone(), run.id.clone()));
    // If it panics, that is in the log of the process, and a round does it.
    let (app, workspace) = (app.clone(), run.workspace_id.clone());
    let _ = tokio::spawn(async move { admit_next(&app, &workspace).await }).await;
}

/// Joins the logs of a run's phases that are over.
pub(crate) async fn join_logs(app: App, run: Id<Run>) {
    for phase in [Phase::Plan, Phase::Apply] {
        if let Err(error) = logs::join(&app, &run, phase).await {
            tracing::warn!(%run, error = chain(&error), "a log was not joined yet");
        }
    }
}

/// Lets runs of a workspace go on after something was committed. What was committed is true whatever becomes of this; the
/// reconciler lets them go on later.
pub(crate) async fn admit_next(app: &App, workspace: &Id<Workspace>) {
    if let Err(error) = runs::admit(app, workspace).await {
        tracing::warn!(%workspace, error = chain(&error), "the workspace's queue was not looked at yet");
    }
}
