//! Applies: a run's second phase.

use axum::extract::Path;
use tfe_core::{
    access::Permission,
    jsonapi::{Linkage, Resource},
    run::{Phase, Run},
    state_version::StateVersion,
};
use tfe_storage::{Query, StoreExt};

use super::plans::phase_attributes;
use crate::{
    error::{ApiError, Reply},
    http::{context::Context, respond, routes::Routes},
};

pub(crate) fn routes() -> Routes {
    Routes::new().get("/api/v2/applies/{id}", show).get("/api/v2/runs/{id}/apply", of_run)
}

async fn show(context: Context, Path(id): Path<String>) -> Reply {
    let run = context.app.store.find_by::<Run>("apply_id", &id).await?.ok_or(ApiError::NotFound)?;
    context.workspace(run.workspace_id.as_str(), Permission::ReadWorkspace).await?;
    shown(&context, &run).await
}

async fn of_run(context: Context, Path(id): Path<String>) -> Reply {
    let (run, _) = context.run(&id, Permission::ReadWorkspace).await?;
    shown(&context, &run).await
}

async fn shown(context: &Context, run: &Run) -> Reply {
    let states = context.app.store.list::<StateVersion>(Query::of::<StateVersion>().equals("run_id", &run.id)).await?.items;
    let states = states.iter().map(|state| Linkage::to("state-versions", &state.id));
    Ok(respond::shown(&render(context, run).many("state-versions", states)))
}

/// An apply as clients see it.
pub(crate) fn render(context: &Context, run: &Run) -> Resource {
    Resource::new("applies", &run.apply_id)
        .attributes(&phase_attributes(context, run, Phase::Apply))
        .one("run", &Linkage::to("runs", &run.id))
        .link("self", format!("/api/v2/applies/{}", run.apply_id))
}
