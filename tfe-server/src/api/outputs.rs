//! Outputs of states. A sensitive value is shown to those who ask for it by id, and never in a list.

use axum::{extract::Path, http::StatusCode};
use serde_json::{Value, json};
use tfe_core::{
    access::Permission,
    jsonapi::{Document, Resource},
    state_version::{StateOutput, StateVersion},
    workspace::Workspace,
};
use tfe_storage::Versioned;

use crate::{
    app::App,
    error::{ApiError, Reply},
    http::{context::Context, parameters::Parameters, respond, routes::Routes},
    service::states,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/workspaces/{id}/current-state-version-outputs", of_workspace)
        .get("/api/v2/state-versions/{id}/outputs", of_version)
        .get("/api/v2/state-version-outputs/{id}", show)
}

/// All outputs of the current state; the CLI reads one page and does not ask for more.
async fn of_workspace(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let workspace = context.workspace(&id, Permission::ReadState).await?;
    let version = states::current(&context.app, &workspace).await?.ok_or(ApiError::NotFound)?;
    list(&context, &version, &parameters).await
}

async fn of_version(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let version: Versioned<StateVersion> = context.any(&id).await?;
    context.workspace(version.workspace_id.as_str(), Permission::ReadState).await?;
    list(&context, &version, &parameters).await
}

async fn show(context: Context, Path(id): Path<String>) -> Reply {
    let output: Versioned<StateOutput> = context.any(&id).await?;
    context.workspace(output.workspace_id.as_str(), Permission::ReadState).await?;
    Ok(respond::shown(&render(&context.app, &output, true).await?))
}

async fn list(context: &Context, version: &StateVersion, parameters: &Parameters) -> Reply {
    let resources = rendered(context, version).await?;
    if !parameters.is_paged() {
        return Ok(respond::document(StatusCode::OK, &Document::all(&resources)));
    }
    let (page, total) = (parameters.page(), resources.len());
    let on_page = resources.into_iter().skip(usize::try_from(page.offset()).unwrap_or(usize::MAX));
    let on_page: Vec<_> = on_page.take(usize::try_from(page.size).unwrap_or(usize::MAX)).collect();
    Ok(respond::page(context, parameters, &on_page, total as u64))
}

/// The outputs of a workspace's current state.
pub(crate) async fn of_current(context: &Context, workspace: &Workspace) -> Result<Vec<Resource>, ApiError> {
    match states::current(&context.app, workspace).await? {
        Some(version) => rendered(context, &version).await,
        None => Ok(Vec::new()),
    }
}

async fn rendered(context: &Context, version: &StateVersion) -> Result<Vec<Resource>, ApiError> {
    let mut resources = Vec::new();
    for output in states::outputs(&context.app, &version.id).await? {
        resources.push(render(&context.app, &output, false).await?);
    }
    Ok(resources)
}

/// An output as clients see it.
pub(crate) async fn render(app: &App, output: &StateOutput, reveal: bool) -> Result<Resource, ApiError> {
    let value = if output.sensitive && !reveal {
        Value::Null
    } else {
        let text = app.vault.open(&StateOutput::VALUE.context(&output.id), &output.value).await?;
        serde_json::from_slice(&text).map_err(ApiError::internal)?
    };
    let attributes = json!({
        "name": output.name,
        "sensitive": output.sensitive,
        "type": output.kind,
        "detailed-type": output.detailed_type,
        "value": value,
    });
    let link = format!("/api/v2/state-version-outputs/{}", output.id);
    Ok(Resource::new("state-version-outputs", &output.id).attributes(&attributes).link("self", link))
}
