//! A workspace as clients see it, and what may be included with it.

use axum::{http::StatusCode, response::Response};
use serde::Serialize;
use serde_json::json;
use tfe_core::{
    access::{Permission, Scope},
    jsonapi::{Document, Linkage, Resource},
    organization::Project,
    run::Run,
    user::User,
    workspace::{ExecutionMode, LockHolder, Workspace},
};
use tfe_storage::{StoreExt, Versioned};

use super::{account, organizations, outputs, projects, runs, states};
use crate::{
    error::ApiError,
    http::{context::Context, parameters::Parameters, respond},
    service,
};

/// What `include` may name.
pub(crate) const INCLUDES: &[&str] = &[
    "organization",
    "project",
    "current-run",
    "current-run.plan",
    "current-run.configuration-version",
    "latest-run",
    "locked-by",
    "current-state-version",
    "current-configuration-version",
    "outputs",
    "readme",
    "effective-tag-bindings",
];

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Permissions {
    can_create_state_versions: bool,
    can_destroy: bool,
    can_force_delete: bool,
    can_force_unlock: bool,
    can_lock: bool,
    can_manage_run_tasks: bool,
    can_queue_apply: bool,
    can_queue_destroy: bool,
    can_queue_run: bool,
    can_read_assessment_results: bool,
    can_read_settings: bool,
    can_read_state_outputs: bool,
    can_read_state_versions: bool,
    can_read_variable: bool,
    can_unlock: bool,
    can_update: bool,
    can_update_variable: bool,
}

/// One workspace with what the parameters include.
pub(crate) async fn shown(context: &Context, workspace: &Workspace, parameters: &Parameters) -> Result<Response, ApiError> {
    let wanted = parameters.include(INCLUDES)?;
    let document = Document::one(&render(context, workspace).await?);
    let others = included(context, workspace, &wanted).await?;
    Ok(respond::document(StatusCode::OK, &document.including(others)))
}

/// A workspace as clients see it.
pub(crate) async fn render(context: &Context, workspace: &Workspace) -> Result<Resource, ApiError> {
    let organization = context.organization_of(workspace).await?;
    let name = &workspace.settings.name;
    let tag_names: Vec<_> = workspace.tags.iter().map(|tag| &tag.key).collect();
    let attributes = json!({
        "actions": { "is-destroyable": true },
        "created-at": workspace.created_at.to_string(),
        "updated-at": workspace.updated_at.to_string(),
        "latest-change-at": workspace.updated_at.to_string(),
        "environment": "default",
        "locked": workspace.lock.is_some(),
        "locked-reason": workspace.lock.as_ref().map_or("", |lock| lock.reason.as_str()),
        "operations": workspace.settings.execution_mode != ExecutionMode::Local,
        "permissions": permissions(context, workspace).await?,
        "resource-count": workspace.resource_count,
        "workspace-kpis-runs-count": workspace.run_count,
        "setting-overwrites": { "execution-mode": true, "agent-pool": true },
        "source": "tfe-api",
        "tag-names": tag_names,
        "vcs-repo": null,
        "vcs-repo-identifier": null,
        "auto-destroy-at": null,
        "auto-destroy-activity-duration": null,
    });
    let path = format!("/api/v2/organizations/{}/workspaces/{name}", organization.settings.name);
    Ok(Resource::new("workspaces", &workspace.id)
        .attributes(&workspace.settings)
        .attributes(&attributes)
        .one("organization", &Linkage::to("organizations", &organization.settings.name))
        .one("project", &Linkage::to("projects", &workspace.project_id))
        .maybe("current-run", workspace.latest_run_id.as_ref().map(|id| Linkage::to("runs", id)))
        .maybe("latest-run", workspace.latest_run_id.as_ref().map(|id| Linkage::to("runs", id)))
        .maybe("locked-by", workspace.lock.as_ref().map(|lock| holder(&lock.holder, &organization.settings.name)))
        .maybe("current-state-version", workspace.current_state_version_id.as_ref().map(|id| Linkage::to("state-versions", id)))
        .maybe("current-configuration-version", None)
        .maybe("agent-pool", workspace.settings.agent_pool_id.as_ref().map(|id| Linkage::to("agent-pools", id)))
        .maybe("ssh-key", None)
        .related("outputs", format!("/api/v2/workspaces/{}/current-state-version-outputs", workspace.id))
        .link("self", path)
        .link("self-html", format!("/app/{}/workspaces/{name}", organization.settings.name)))
}

/// The resources that the names in `wanted` stand for.
pub(crate) async fn included(context: &Context, workspace: &Workspace, wanted: &[String]) -> Result<Vec<Resource>, ApiError> {
    let mut resources = Vec::new();
    for name in wanted {
        match name.as_str() {
            "organization" => resources.push(organizations::included(context, workspace).await?),
            "project" => {
                let project: Versioned<Project> = context.any(workspace.project_id.as_str()).await?;
                resources.push(projects::render(context, &project, &context.organization_of(workspace).await?.record).await?);
            }
            "current-run" | "latest-run" | "current-run.plan" | "current-run.configuration-version" => {
                if let Some(id) = &workspace.latest_run_id {
                    let run: Versioned<Run> = context.any(id.as_str()).await?;
                    resources.push(Box::pin(runs::render(context, &run, workspace)).await?);
                    resources.extend(Box::pin(runs::included(context, &run, workspace, &nested(name))).await?);
                }
            }
            "locked-by" => resources.extend(locker(context, workspace).await?),
            "current-state-version" => {
                if let Some(version) = service::states::current(&context.app, workspace).await? {
                    resources.push(states::render(context, &version).await?);
                }
            }
            "outputs" => resources.extend(outputs::of_current(context, workspace).await?),
            _ => {}
        }
    }
    Ok(resources)
}

/// What comes after the dot.
fn nested(name: &str) -> Vec<String> {
    name.split_once('.').map(|(_, rest)| rest.to_owned()).into_iter().collect()
}

async fn locker(context: &Context, workspace: &Workspace) -> Result<Option<Resource>, ApiError> {
    Ok(match workspace.lock.as_ref().map(|lock| &lock.holder) {
        Some(LockHolder::User(id)) => context.app.store.find::<User>(id.as_str()).await?.map(|user| account::render(&user)),
        Some(LockHolder::Run(id)) => {
            let run: Versioned<Run> = context.any(id.as_str()).await?;
            Some(Box::pin(runs::render(context, &run, workspace)).await?)
        }
        _ => None,
    })
}

fn holder(holder: &LockHolder, organization: &str) -> Linkage {
    match holder {
        LockHolder::User(id) => Linkage::to("users", id),
        LockHolder::Run(id) => Linkage::to("runs", id),
        LockHolder::Organization(_) => Linkage::to("organizations", organization),
    }
}

async fn permissions(context: &Context, workspace: &Workspace) -> Result<Permissions, ApiError> {
    let scope = Scope { organization: &workspace.organization_id, workspace: Some(&workspace.id) };
    let may = async |permission| context.may(permission, scope).await;
    let (manage, write_state, queue) =
        (may(Permission::ManageWorkspace).await?, may(Permission::WriteState).await?, may(Permission::QueueRun).await?);
    let (apply, read_state) = (may(Permission::ApplyRun).await?, may(Permission::ReadState).await?);
    Ok(Permissions {
        can_create_state_versions: write_state,
        can_destroy: manage,
        can_force_delete: manage,
        can_force_unlock: manage,
        can_lock: write_state,
        can_manage_run_tasks: manage,
        can_queue_apply: apply,
        can_queue_destroy: apply,
        can_queue_run: queue,
        can_read_assessment_results: read_state,
        can_read_settings: true,
        can_read_state_outputs: read_state,
        can_read_state_versions: read_state,
        can_read_variable: may(Permission::ReadVariables).await?,
        can_unlock: write_state,
        can_update: manage,
        can_update_variable: may(Permission::WriteVariables).await?,
    })
}
