//! The page of a run, whose address the CLI prints: status, summary, and the log as it grows.

use askama::Template;
use axum::extract::Path;
use tfe_core::{
    access::Permission,
    run::{Phase, PhaseStatus, Run},
};
use tfe_storage::Versioned;

use super::{page, visitor::Visitor};
use crate::{
    error::{ApiError, Reply},
    http::{routes::Routes, signed::Purpose},
};

pub(crate) fn routes() -> Routes {
    Routes::new().get("/app/{organization}/{workspace}/runs/{run}", show).get("/app/{organization}/{workspace}/runs/{run}/summary", summary)
}

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    username: String,
    organization: String,
    workspace: String,
    summary: Summary,
    phases: Vec<PhaseLog>,
}

/// The part that changes while the run goes on.
#[derive(Template)]
#[template(path = "run_summary.html")]
struct Summary {
    /// Why the run cannot go on at present.
    waiting: Option<String>,
    run: Versioned<Run>,
}

struct PhaseLog {
    title: &'static str,
    log: String,
}

async fn show(visitor: Visitor, Path((organization, workspace, id)): Path<(String, String, String)>) -> Reply {
    let run = visible(&visitor, &organization, &workspace, &id).await?;
    let app = &visitor.context.app;
    let phases = [("Plan", Phase::Plan), ("Apply", Phase::Apply)]
        .map(|(title, phase)| PhaseLog { title, log: app.signer.path(Purpose::LogRead, run.phase_id(phase), app.now()) });
    let username = visitor.user.username.clone();
    page::page(&RunPage {
        username,
        organization,
        workspace,
        summary: Summary { waiting: app.health.hindrance(run.status), run },
        phases: phases.into(),
    })
}

async fn summary(visitor: Visitor, Path((organization, workspace, id)): Path<(String, String, String)>) -> Reply {
    let run = visible(&visitor, &organization, &workspace, &id).await?;
    page::page(&Summary { waiting: visitor.context.app.health.hindrance(run.status), run })
}

async fn visible(visitor: &Visitor, organization: &str, name: &str, id: &str) -> Result<Versioned<Run>, ApiError> {
    let (_, workspace) = visitor.context.named_workspace(organization, name, Permission::ReadWorkspace).await?;
    let (run, own) = visitor.context.run(id, Permission::ReadWorkspace).await?;
    if own.id == workspace.id { Ok(run) } else { Err(ApiError::NotFound) }
}

impl Summary {
    fn is_over(&self) -> bool {
        self.run.status.is_final()
    }

    fn shows_plan(&self) -> bool {
        self.run.plan.status == PhaseStatus::Finished
    }

    fn shows_apply(&self) -> bool {
        self.run.apply.status.is_final() && self.run.apply.status != PhaseStatus::Unreachable
    }
}
