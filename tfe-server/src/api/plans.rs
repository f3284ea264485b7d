//! Plans: a run's first phase, its log and its documents.

use axum::{
    body::Body,
    extract::Path,
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde_json::{Map, Value, json};
use tfe_core::{
    access::Permission,
    blob::Blob,
    jsonapi::{Linkage, Resource},
    run::{Phase, PhaseRecord, Run},
    workspace::Workspace,
};
use tfe_runner::job::ArtifactKind;
use tfe_storage::{StoreExt, Versioned};

use super::runs::timestamps;
use crate::{
    error::{ApiError, Reply},
    http::{context::Context, respond, routes::Routes, signed::Purpose},
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/plans/{id}", show)
        .get("/api/v2/runs/{id}/plan", of_run)
        .get("/api/v2/plans/{id}/json-output", json_output)
        .get("/api/v2/runs/{id}/plan/json-output", json_output_of_run)
        .get("/api/v2/plans/{id}/json-output-redacted", redacted)
        .get("/api/v2/plans/{id}/json-schema", schemas)
}

async fn show(context: Context, Path(id): Path<String>) -> Reply {
    let (run, _) = visible(&context, &id, Permission::ReadWorkspace).await?;
    Ok(respond::shown(&render(&context, &run)))
}

async fn of_run(context: Context, Path(id): Path<String>) -> Reply {
    let (run, _) = context.run(&id, Permission::ReadWorkspace).await?;
    Ok(respond::shown(&render(&context, &run)))
}

/// The whole plan holds sensitive values in clear, so it takes the right to change the workspace.
async fn json_output(context: Context, Path(id): Path<String>) -> Reply {
    let (run, _) = visible(&context, &id, Permission::ManageWorkspace).await?;
    artifact(&context, &run, ArtifactKind::PlanJson).await
}

async fn json_output_of_run(context: Context, Path(id): Path<String>) -> Reply {
    let (run, _) = context.run(&id, Permission::ManageWorkspace).await?;
    artifact(&context, &run, ArtifactKind::PlanJson).await
}

async fn redacted(context: Context, Path(id): Path<String>) -> Reply {
    let (run, _) = visible(&context, &id, Permission::ReadWorkspace).await?;
    artifact(&context, &run, ArtifactKind::PlanRedacted).await
}

async fn schemas(context: Context, Path(id): Path<String>) -> Reply {
    let (run, _) = visible(&context, &id, Permission::ReadWorkspace).await?;
    artifact(&context, &run, ArtifactKind::ProviderSchemas).await
}

async fn artifact(context: &Context, run: &Run, kind: ArtifactKind) -> Reply {
    let Some(id) = run.artifacts.get(kind.as_str()) else {
        // A plan that is not made yet has no document; 204 is what Terraform Enterprise answers.
        return if run.plan.status.is_final() { Err(ApiError::NotFound) } else { Ok(StatusCode::NO_CONTENT.into_response()) };
    };
    let blob: Versioned<Blob> = context.any(id.as_str()).await?;
    let content = Body::from_stream(context.app.blobs.read(&blob, None).await?);
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CONTENT_LENGTH, &blob.size.to_string())], content).into_response())
}

async fn visible(context: &Context, id: &str, permission: Permission) -> Result<(Versioned<Run>, Versioned<Workspace>), ApiError> {
    let run = context.app.store.find_by::<Run>("plan_id", id).await?.ok_or(ApiError::NotFound)?;
    let workspace = context.workspace(run.workspace_id.as_str(), permission).await?;
    Ok((run, workspace))
}

/// A plan as clients see it.
pub(crate) fn render(context: &Context, run: &Run) -> Resource {
    let generated = run.artifacts.contains_key(ArtifactKind::GeneratedConfiguration.as_str());
    Resource::new("plans", &run.plan_id)
        .attributes(&phase_attributes(context, run, Phase::Plan))
        .attribute("generated-configuration", generated)
        .attribute("has-changes", run.plan.summary.has_changes)
        .attribute("permissions", json!({ "can-export": false }))
        .many("exports", [])
        .maybe("agent", None)
        .one("run", &Linkage::to("runs", &run.id))
        .link("self", format!("/api/v2/plans/{}", run.plan_id))
        .link("json-output", format!("/api/v2/plans/{}/json-output", run.plan_id))
}

/// What plans and applies have in common.
pub(crate) fn phase_attributes(context: &Context, run: &Run, phase: Phase) -> Map<String, Value> {
    let PhaseRecord { status, reached, summary, .. } = run.phase(phase);
    let log = context.app.signer.path(Purpose::LogRead, run.phase_id(phase), context.app.now());
    let attributes = json!({
        "status": status,
        "status-timestamps": timestamps(reached),
        "log-read-url": context.url(&log),
        "resource-additions": summary.add,
        "resource-changes": summary.change,
        "resource-destructions": summary.destroy,
        "resource-imports": summary.import,
        "action-invocations": 0,
        "execution-details": { "mode": "remote" },
        "structured-run-output-enabled": run.options.structured_log,
    });
    attributes.as_object().cloned().unwrap_or_default()
}
