//! Organizations: their settings, what they are entitled to, and how busy they are.

use axum::{extract::Path, http::StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tfe_core::{
    access::{Permission, Scope, Subject},
    jsonapi::{self, Document, Linkage, Resource},
    organization::{Membership, Organization, OrganizationSettings, Project},
    run::{Run, Status},
    workspace::Workspace,
};
use tfe_storage::{Batch, Direction, Query, Sort, StoreExt, Versioned};

use super::runs;
use crate::{
    error::{ApiError, Reply, taken},
    http::{body::Input, context::Context, parameters::Parameters, respond, routes::Routes},
    service::setup,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/organizations", list)
        .post("/api/v2/organizations", create)
        .get("/api/v2/organizations/{name}", show)
        .patch("/api/v2/organizations/{name}", update)
        .delete("/api/v2/organizations/{name}", delete)
        .get("/api/v2/organizations/{name}/entitlement-set", entitlements)
        .get("/api/v2/organizations/{name}/capacity", capacity)
        .get("/api/v2/organizations/{name}/runs/queue", run_queue)
}

/// What an organization may use. Everything that exists is free; what does not exist yet is not promised.
const ENTITLEMENTS: &[(&str, bool)] = &[
    ("agents", false),
    ("audit-logging", false),
    ("configuration-designer", false),
    ("cost-estimation", false),
    ("global-run-tasks", false),
    ("module-tests-generation", false),
    ("operations", true),
    ("policy-enforcement", false),
    ("private-module-registry", false),
    ("private-policy-agents", false),
    ("private-run-tasks", false),
    ("private-vcs", false),
    ("run-tasks", false),
    ("self-serve-billing", false),
    ("sentinel", false),
    ("sso", false),
    ("state-storage", true),
    ("teams", false),
    ("usage-reporting", false),
    ("vcs-integrations", false),
];

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Permissions {
    can_create_project: bool,
    can_create_team: bool,
    can_create_workspace: bool,
    can_create_workspace_migration: bool,
    can_deploy_no_code_modules: bool,
    can_destroy: bool,
    can_manage_no_code_modules: bool,
    can_manage_run_tasks: bool,
    can_traverse: bool,
    can_update: bool,
    can_update_api_token: bool,
    can_update_oauth: bool,
    can_update_sentinel: bool,
}

async fn list(context: Context, parameters: Parameters) -> Reply {
    let page = parameters.page();
    let mut query = Query::of::<Organization>().sort(Sort::Field("name"), Direction::Ascending);
    if let Some(ids) = visible_ids(&context).await? {
        query = query.any_of("id", ids);
    }
    if let Some(text) = parameters.get("q").or(parameters.get("q[name]")) {
        query = query.contains("name", text);
    }
    let list = context.app.store.list::<Organization>(query.page(page.offset(), page.size).counted()).await?;
    let mut resources = Vec::new();
    for organization in &list.items {
        resources.push(render(&context, organization).await?);
    }
    Ok(respond::page(&context, &parameters, &resources, list.total))
}

/// Which organizations the caller may see; none for all.
async fn visible_ids(context: &Context) -> Result<Option<Vec<String>>, ApiError> {
    match &context.subject {
        Subject::User { site_admin: true, .. } => Ok(None),
        Subject::User { id, .. } => {
            let memberships = context.app.store.list::<Membership>(Query::of::<Membership>().equals("user_id", id)).await?.items;
            Ok(Some(memberships.iter().map(|membership| membership.organization_id.to_string()).collect()))
        }
        Subject::Organization(id) => Ok(Some(vec![id.to_string()])),
        Subject::Run { organization, .. } => Ok(Some(vec![organization.to_string()])),
    }
}

async fn create(context: Context, Input(input): Input) -> Reply {
    let user = context.user_id().ok_or(ApiError::NotFound)?;
    let settings: OrganizationSettings = jsonapi::patched(None, &input.attributes)?;
    let name = settings.name.clone();
    let batch = setup::organization(&context.app, settings, Some(&user))?;
    context.app.store.commit(batch).await.map_err(taken)?;
    let organization = context.organization(&name, Permission::ReadOrganization).await?;
    Ok(respond::created(&render(&context, &organization).await?))
}

async fn show(context: Context, Path(name): Path<String>) -> Reply {
    let organization = context.organization(&name, Permission::ReadOrganization).await?;
    Ok(respond::shown(&render(&context, &organization).await?))
}

async fn update(context: Context, Path(name): Path<String>, Input(input): Input) -> Reply {
    let organization = context.organization(&name, Permission::ManageOrganization).await?;
    let settings: OrganizationSettings = jsonapi::patched(Some(&organization.settings), &input.attributes)?;
    settings.check()?;
    let next = Organization { settings, ..organization.record.clone() };
    context.app.store.commit(Batch::new().update(&organization, &next)).await.map_err(taken)?;
    Ok(respond::shown(&render(&context, &next).await?))
}

async fn delete(context: Context, Path(name): Path<String>) -> Reply {
    let organization = context.organization(&name, Permission::ManageOrganization).await?;
    context.app.store.commit(Batch::new().delete(&organization)).await?;
    Ok(respond::done())
}

async fn entitlements(context: Context, Path(name): Path<String>) -> Reply {
    let organization = context.organization(&name, Permission::ReadOrganization).await?;
    let attributes: Map<String, Value> = ENTITLEMENTS.iter().map(|(name, has)| ((*name).to_owned(), (*has).into())).collect();
    Ok(respond::shown(&Resource::new("entitlement-sets", &organization.id).attributes(&attributes)))
}

/// How many runs wait and work; the CLI shows it while it waits.
async fn capacity(context: Context, Path(name): Path<String>) -> Reply {
    let organization = context.organization(&name, Permission::ReadOrganization).await?;
    let pending = count(&context, &organization, &[Status::Pending, Status::PlanQueued, Status::ApplyQueued]).await?;
    let running = count(&context, &organization, &[Status::Planning, Status::Applying]).await?;
    let attributes = json!({ "pending": pending, "running": running });
    Ok(respond::shown(&Resource::new("organization-capacity", &name).attributes(&attributes)))
}

async fn count(context: &Context, organization: &Organization, statuses: &[Status]) -> Result<u64, ApiError> {
    let statuses = statuses.iter().map(|status| status.as_str());
    let query = Query::of::<Run>().equals("organization_id", &organization.id).any_of("status", statuses).limit(1).counted();
    Ok(context.app.store.list::<Run>(query).await?.total)
}

/// The runs that wait or work, oldest first.
async fn run_queue(context: Context, Path(name): Path<String>, parameters: Parameters) -> Reply {
    let organization = context.organization(&name, Permission::ManageOrganization).await?;
    let page = parameters.page();
    let busy = [Status::Pending, Status::PlanQueued, Status::Planning, Status::Confirmed, Status::ApplyQueued, Status::Applying];
    let query = Query::of::<Run>().equals("organization_id", &organization.id).any_of("status", busy.map(tfe_core::run::Status::as_str));
    let list = context.app.store.list::<Run>(query.page(page.offset(), page.size).counted()).await?;
    let mut resources = Vec::new();
    for (run, place) in list.items.iter().zip(page.offset()..) {
        let workspace: Versioned<Workspace> = context.any(run.workspace_id.as_str()).await?;
        resources.push(runs::render(&context, run, &workspace).await?.attribute("position-in-queue", place));
    }
    let document: Document = respond::page_document(&context, &parameters, &resources, list.total);
    Ok(respond::document(StatusCode::OK, &document))
}

/// An organization as clients see it: its id is its name.
pub(crate) async fn render(context: &Context, organization: &Organization) -> Result<Resource, ApiError> {
    let name = &organization.settings.name;
    let scope = Scope { organization: &organization.id, workspace: None };
    let may_manage = context.may(Permission::ManageOrganization, scope).await?;
    let may_create = context.may(Permission::CreateWorkspace, scope).await?;
    let default = default_project(context, organization).await?;
    let fixed = json!({
        "external-id": organization.id,
        "created-at": organization.created_at.to_string(),
        "collaborator-auth-policy": "password",
        "plan-expired": false,
        "plan-is-trial": false,
        "plan-is-enterprise": true,
        "saml-enabled": false,
        "two-factor-conformant": true,
        "assessments-enforced": false,
        "permissions": permissions(may_manage, may_create),
    });
    let link = format!("/api/v2/organizations/{name}");
    Ok(Resource::new("organizations", name)
        .attributes(&organization.settings)
        .attributes(&fixed)
        .maybe("default-agent-pool", None)
        .one("default-project", &Linkage::to("projects", &default.id))
        .related("entitlement-set", format!("{link}/entitlement-set"))
        .link("self", link))
}

fn permissions(may_manage: bool, may_create: bool) -> Permissions {
    Permissions {
        can_create_project: may_create,
        can_create_team: may_manage,
        can_create_workspace: may_create,
        can_create_workspace_migration: may_create,
        can_deploy_no_code_modules: may_create,
        can_destroy: may_manage,
        can_manage_no_code_modules: may_manage,
        can_manage_run_tasks: may_manage,
        can_traverse: true,
        can_update: may_manage,
        can_update_api_token: may_manage,
        can_update_oauth: may_manage,
        can_update_sentinel: may_manage,
    }
}

/// The default project of an organization.
pub(crate) async fn default_project(context: &Context, organization: &Organization) -> Result<Project, ApiError> {
    let projects = context.app.store.list::<Project>(Query::of::<Project>().equals("organization_id", &organization.id)).await?.items;
    let default = projects.into_iter().find(|project| project.is_default);
    Ok(default.ok_or_else(|| ApiError::internal("an organization has no default project"))?.into_record())
}

/// Used where an included organization is asked for.
pub(crate) async fn included(context: &Context, workspace: &Workspace) -> Result<Resource, ApiError> {
    render(context, &context.organization_of(workspace).await?.record).await
}
