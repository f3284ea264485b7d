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
pub(crate) mod workspaces;

use tfe_core::run::{Phase, Run};

use crate::{app::App, error::chain};

/// What can wait until after the answer when a phase ended: its log becomes one blob, and the next run begins.
/// If the process dies first, the reconciler does the same.
pub(crate) async fn after_phase(app: &App, run: &Run) {
    for phase in [Phase::Plan, Phase::Apply] {
        if let Err(error) = logs::join(app, &run.id, phase).await {
            tracing::warn!(run = %run.id, error = chain(&error), "a log was not joined yet");
        }
    }
    if let Err(error) = runs::admit(app, &run.workspace_id).await {
        tracing::warn!(workspace = %run.workspace_id, error = chain(&error), "the workspace's queue was not looked at yet");
    }
}
