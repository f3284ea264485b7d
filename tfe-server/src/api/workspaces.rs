//! Workspaces: made, found, changed and deleted.

use axum::{extract::Path, http::StatusCode};
use serde_json::Value;
use tfe_core::{
    access::{Permission, Scope, Subject},
    error::{Invalid, Refused},
    id::Id,
    jsonapi,
    organization::{Organization, Project},
    run::{Run, Status},
    workspace::{ExecutionMode, TagBinding, Workspace, WorkspaceSettings},
};
use tfe_storage::{Batch, Direction, Query, Sort, StoreExt, Versioned};

use super::{agent_pools, organizations, tags, workspace_rendering};
use crate::{
    error::{ApiError, Reply, chain, taken},
    http::{body::Input, context::Context, parameters::Parameters, respond, routes::Routes},
    service::{runs, workspaces::change},
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/organizations/{organization}/workspaces", list)
        .post("/api/v2/organizations/{organization}/workspaces", create)
        .get("/api/v2/organizations/{organization}/workspaces/{name}", show_named)
        .patch("/api/v2/organizations/{organization}/workspaces/{name}", update_named)
        .delete("/api/v2/organizations/{organization}/workspaces/{name}", delete_named)
        .post("/api/v2/organizations/{organization}/workspaces/{name}/actions/safe-delete", safe_delete_named)
        .get("/api/v2/workspaces/{id}", show)
        .patch("/api/v2/workspaces/{id}", update)
        .delete("/api/v2/workspaces/{id}", delete)
        .post("/api/v2/workspaces/{id}/actions/safe-delete", safe_delete)
}

async fn list(context: Context, Path(organization): Path<String>, parameters: Parameters) -> Reply {
    let wanted = parameters.include(workspace_rendering::INCLUDES)?;
    let organization = context.organization(&organization, Permission::ReadOrganization).await?;
    let page = parameters.page();
    let query = search(&context, &organization, &parameters).await?.page(page.offset(), page.size).counted();
    let list = context.app.store.list::<Workspace>(query).await?;
    let (mut resources, mut others) = (Vec::new(), Vec::new());
    for workspace in &list.items {
        resources.push(workspace_rendering::render(&context, workspace).await?);
        others.extend(workspace_rendering::included(&context, workspace, &wanted).await?);
    }
    let document = respond::page_document(&context, &parameters, &resources, list.total).including(others);
    Ok(respond::document(StatusCode::OK, &document))
}

/// The workspaces that the caller may see and the parameters ask for.
async fn search(context: &Context, organization: &Organization, parameters: &Parameters) -> Result<Query, ApiError> {
    let mut query = Query::of::<Workspace>().equals("organization_id", &organization.id);
    let scope = Scope { organization: &organization.id, workspace: None };
    if !context.may(Permission::ReadWorkspace, scope).await? {
        let own = match &context.subject {
            Subject::Run { workspace, .. } => workspace.to_string(),
            _ => String::new(),
        };
        query = query.equals("id", own);
    }
    if let Some(text) = parameters.get("search[name]") {
        query = query.contains("name", text);
    }
    if let Some(project) = parameters.get("filter[project][id]") {
        query = query.equals("project_id", project);
    }
    for needle in tags::needles(parameters) {
        query = query.contains("tag_index", needle);
    }
    Ok(match parameters.get("sort") {
        Some("-name") => query.sort(Sort::Field("name"), Direction::Descending),
        _ => query.sort(Sort::Field("name"), Direction::Ascending),
    })
}

async fn create(context: Context, Path(organization): Path<String>, Input(input): Input) -> Reply {
    let organization = context.organization(&organization, Permission::CreateWorkspace).await?;
    let mut attributes = input.attributes.clone();
    default_execution_mode(&mut attributes, &organization);
    let settings = settings(None, &attributes)?;
    let project = match input.one("project") {
        Some(id) => project(&context, &organization.id, &id).await?,
        None => organizations::default_project(&context, &organization).await?.id,
    };
    let (app, now) = (&context.app, context.app.now());
    let workspace = Workspace {
        id: app.new_id(),
        created_at: now,
        updated_at: now,
        organization_id: organization.id.clone(),
        project_id: project,
        settings,
        tags: Vec::new(),
        tag_index: TagBinding::index(&[]),
        lock: None,
        current_run_id: None,
        latest_run_id: None,
        run_count: 0,
        current_state_version_id: None,
        resource_count: 0,
    };
    let workspace = workspace.tagged(tags::from_relationships(&input)?, now)?;
    agent_pools::require_usable(&context, &workspace).await?;
    app.store.commit(Batch::new().insert(&workspace)).await.map_err(taken)?;
    Ok(respond::created(&workspace_rendering::render(&context, &workspace).await?))
}

async fn show_named(context: Context, Path((organization, name)): Path<(String, String)>, parameters: Parameters) -> Reply {
    let (_, workspace) = context.named_workspace(&organization, &name, Permission::ReadWorkspace).await?;
    workspace_rendering::shown(&context, &workspace, &parameters).await
}

async fn show(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let workspace = context.workspace(&id, Permission::ReadWorkspace).await?;
    workspace_rendering::shown(&context, &workspace, &parameters).await
}

async fn update_named(context: Context, Path((organization, name)): Path<(String, String)>, input: Input) -> Reply {
    let (_, workspace) = context.named_workspace(&organization, &name, Permission::ManageWorkspace).await?;
    patch(&context, &workspace, input).await
}

async fn update(context: Context, Path(id): Path<String>, input: Input) -> Reply {
    let workspace = context.workspace(&id, Permission::ManageWorkspace).await?;
    patch(&context, &workspace, input).await
}

async fn patch(context: &Context, workspace: &Workspace, Input(input): Input) -> Reply {
    let project = match input.one("project") {
        Some(id) => Some(project(context, &workspace.organization_id, &id).await?),
        None => None,
    };
    let tags = if input.names("tag-bindings") { Some(tags::from_relationships(&input)?) } else { None };
    let now = context.app.now();
    let settings_after = settings(Some(&workspace.settings), &input.attributes)?;
    agent_pools::require_usable(context, &Workspace { settings: settings_after, ..workspace.clone() }).await?;
    let changed = change(&context.app, workspace.id.as_str(), |mut workspace| {
        workspace.settings = settings(Some(&workspace.settings), &input.attributes)?;
        workspace.project_id = project.clone().unwrap_or(workspace.project_id);
        workspace.updated_at = now;
        Ok(match &tags {
            Some(tags) => workspace.tagged(tags.clone(), now)?,
            None => workspace,
        })
    });
    let changed = changed.await?.record;
    // The reconciler does the same for jobs that are queued at this moment.
    if let Err(error) = runs::place_all(&context.app, &changed).await {
        tracing::warn!(workspace = %changed.id, error = chain(&error), "queued jobs do not follow their workspace yet");
    }
    Ok(respond::shown(&workspace_rendering::render(context, &changed).await?))
}

async fn delete_named(context: Context, Path((organization, name)): Path<(String, String)>) -> Reply {
    let (_, workspace) = context.named_workspace(&organization, &name, Permission::ManageWorkspace).await?;
    remove(&context, &workspace).await
}

async fn delete(context: Context, Path(id): Path<String>) -> Reply {
    let workspace = context.workspace(&id, Permission::ManageWorkspace).await?;
    remove(&context, &workspace).await
}

async fn safe_delete_named(context: Context, Path((organization, name)): Path<(String, String)>) -> Reply {
    let (_, workspace) = context.named_workspace(&organization, &name, Permission::ManageWorkspace).await?;
    remove_safely(&context, &workspace).await
}

async fn safe_delete(context: Context, Path(id): Path<String>) -> Reply {
    let workspace = context.workspace(&id, Permission::ManageWorkspace).await?;
    remove_safely(&context, &workspace).await
}

/// Deletes a workspace that manages nothing and that nobody uses. The texts are matched by clients (go-tfe `workspace.go`).
async fn remove_safely(context: &Context, workspace: &Versioned<Workspace>) -> Reply {
    if workspace.lock.is_some() {
        return Err(Refused::because("workspace is locked; unlock it, or wait for its run to end").into());
    }
    if workspace.resource_count > 0 {
        let text = format!("workspace is not safe to delete: it manages {} resources; destroy them first", workspace.resource_count);
        return Err(Refused::because(text).into());
    }
    remove(context, workspace).await
}

/// Deletes a workspace with all it has. While an engine works for it that would lose what the engine makes.
async fn remove(context: &Context, workspace: &Versioned<Workspace>) -> Reply {
    if let Some(run) = &workspace.current_run_id {
        let run: Versioned<Run> = context.any(run.as_str()).await?;
        if matches!(run.status, Status::Planning | Status::Applying | Status::ApplyQueued) {
            return Err(Refused::because(format!("workspace is locked: run {} is being processed; cancel it first", run.id)).into());
        }
    }
    context.app.store.commit(Batch::new().delete(workspace)).await?;
    Ok(respond::done())
}

/// The settings with the sent attributes over them.
fn settings(present: Option<&WorkspaceSettings>, sent: &Value) -> Result<WorkspaceSettings, Invalid> {
    let mut sent = sent.clone();
    // Clients older than execution modes say whether runs happen here at all.
    if let Some(operations) = sent.get("operations").and_then(Value::as_bool)
        && sent.get("execution-mode").is_none()
    {
        sent["execution-mode"] = if operations { "remote" } else { "local" }.into();
    }
    // Leaving agent mode leaves the pool, unless the client says what it wants of it.
    let leaves_agents = sent.get("execution-mode").is_some_and(|mode| mode != "agent");
    if leaves_agents && sent.get("agent-pool-id").is_none() && sent.is_object() {
        sent["agent-pool-id"] = Value::Null;
    }
    let settings: WorkspaceSettings = jsonapi::patched(present, &sent)?;
    settings.check()?;
    Ok(settings)
}

fn default_execution_mode(attributes: &mut Value, organization: &Organization) {
    let mode = organization.settings.default_execution_mode;
    if mode != ExecutionMode::default()
        && let Some(attributes) = attributes.as_object_mut()
        && !attributes.contains_key("operations")
    {
        attributes.entry("execution-mode").or_insert_with(|| serde_json::json!(mode));
    }
}

async fn project(context: &Context, organization: &Id<Organization>, id: &str) -> Result<Id<Project>, ApiError> {
    let found = context.app.store.find::<Project>(id).await?.filter(|project| project.organization_id == *organization);
    let missing = || Invalid::at("/data/relationships/project", "Project does not exist in this organization");
    Ok(found.ok_or_else(missing)?.id.clone())
}
