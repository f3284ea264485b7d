//! Projects: groups of workspaces in an organization.

use axum::extract::Path;
use serde_json::json;
use tfe_core::{
    access::{Permission, Scope},
    error::Refused,
    jsonapi::{self, Linkage, Resource},
    organization::{Organization, Project, ProjectSettings},
    workspace::Workspace,
};
use tfe_storage::{Batch, Direction, Query, Sort, StoreExt, Versioned};

use crate::{
    error::{ApiError, Reply, taken},
    http::{body::Input, context::Context, parameters::Parameters, respond, routes::Routes},
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/organizations/{name}/projects", list)
        .post("/api/v2/organizations/{name}/projects", create)
        .get("/api/v2/projects/{id}", show)
        .patch("/api/v2/projects/{id}", update)
        .delete("/api/v2/projects/{id}", delete)
}

async fn list(context: Context, Path(name): Path<String>, parameters: Parameters) -> Reply {
    let organization = context.organization(&name, Permission::ReadOrganization).await?;
    let page = parameters.page();
    let mut query = Query::of::<Project>().equals("organization_id", &organization.id).sort(Sort::Field("name"), Direction::Ascending);
    let names = parameters.list("filter[names]");
    if !names.is_empty() {
        query = query.any_of("name", names);
    }
    if let Some(text) = parameters.get("q") {
        query = query.contains("name", text);
    }
    let list = context.app.store.list::<Project>(query.page(page.offset(), page.size).counted()).await?;
    let mut resources = Vec::new();
    for project in &list.items {
        resources.push(render(&context, project, &organization).await?);
    }
    Ok(respond::page(&context, &parameters, &resources, list.total))
}

async fn create(context: Context, Path(name): Path<String>, Input(input): Input) -> Reply {
    let organization = context.organization(&name, Permission::CreateWorkspace).await?;
    let settings: ProjectSettings = jsonapi::patched(None, &input.attributes)?;
    settings.check()?;
    let app = &context.app;
    let project =
        Project { id: app.new_id(), created_at: app.now(), organization_id: organization.id.clone(), is_default: false, settings };
    app.store.commit(Batch::new().insert(&project)).await.map_err(taken)?;
    Ok(respond::created(&render(&context, &project, &organization).await?))
}

async fn show(context: Context, Path(id): Path<String>) -> Reply {
    let (project, organization) = visible(&context, &id, Permission::ReadOrganization).await?;
    Ok(respond::shown(&render(&context, &project, &organization).await?))
}

async fn update(context: Context, Path(id): Path<String>, Input(input): Input) -> Reply {
    let (project, organization) = visible(&context, &id, Permission::ManageOrganization).await?;
    let settings: ProjectSettings = jsonapi::patched(Some(&project.settings), &input.attributes)?;
    settings.check()?;
    let next = Project { settings, ..project.record.clone() };
    context.app.store.commit(Batch::new().update(&project, &next)).await.map_err(taken)?;
    Ok(respond::shown(&render(&context, &next, &organization).await?))
}

async fn delete(context: Context, Path(id): Path<String>) -> Reply {
    let (project, _) = visible(&context, &id, Permission::ManageOrganization).await?;
    if project.is_default {
        return Err(Refused::because("the default project takes the workspaces that name no project and cannot be deleted").into());
    }
    if workspace_count(&context, &project).await? > 0 {
        return Err(Refused::because("the project still has workspaces; move or delete them first").into());
    }
    context.app.store.commit(Batch::new().delete(&project)).await?;
    Ok(respond::done())
}

async fn visible(context: &Context, id: &str, permission: Permission) -> Result<(Versioned<Project>, Versioned<Organization>), ApiError> {
    let project: Versioned<Project> = context.any(id).await?;
    context.require(permission, Scope { organization: &project.organization_id, workspace: None }).await?;
    let organization = context.any(project.organization_id.as_str()).await?;
    Ok((project, organization))
}

async fn workspace_count(context: &Context, project: &Project) -> Result<u64, ApiError> {
    let query = Query::of::<Workspace>().equals("project_id", &project.id).limit(1).counted();
    Ok(context.app.store.list::<Workspace>(query).await?.total)
}

/// A project as clients see it.
pub(crate) async fn render(context: &Context, project: &Project, organization: &Organization) -> Result<Resource, ApiError> {
    let scope = Scope { organization: &project.organization_id, workspace: None };
    let may_manage = context.may(Permission::ManageOrganization, scope).await?;
    let fixed = json!({
        "created-at": project.created_at.to_string(),
        "is-unified": false,
        "workspace-count": workspace_count(context, project).await?,
        "permissions": {
            "can-read": true,
            "can-update": may_manage,
            "can-destroy": may_manage,
            "can-create-workspace": context.may(Permission::CreateWorkspace, scope).await?,
        },
    });
    Ok(Resource::new("projects", &project.id)
        .attributes(&project.settings)
        .attributes(&fixed)
        .one("organization", &Linkage::to("organizations", &organization.settings.name))
        .link("self", format!("/api/v2/projects/{}", project.id)))
}
