//! Agent pools: groups of an organization's own workers, the tokens they join with, and who is there.

use axum::extract::Path;
use serde_json::json;
use tfe_core::{
    access::{Permission, Scope},
    agent::{Agent, AgentPool, AgentPoolSettings},
    error::{Invalid, Refused},
    id::Id,
    job::Job,
    jsonapi::{self, Input as Sent, Linkage, Resource},
    organization::Organization,
    user::{Token, TokenOwner},
    workspace::Workspace,
};
use tfe_storage::{Batch, Direction, Query, Sort, StoreExt, Versioned};

use super::tokens;
use crate::{
    error::{ApiError, Reply, taken},
    http::{body::Input, context::Context, parameters::Parameters, respond, routes::Routes},
    service::{agents, walk},
};

/// Most workspaces of an organization that are looked at for those that use a pool.
const MAX_WORKSPACES: u64 = 10_000;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/organizations/{name}/agent-pools", list)
        .post("/api/v2/organizations/{name}/agent-pools", create)
        .get("/api/v2/agent-pools/{id}", show)
        .patch("/api/v2/agent-pools/{id}", update)
        .delete("/api/v2/agent-pools/{id}", delete)
        .get("/api/v2/agent-pools/{id}/agents", list_agents)
        .get("/api/v2/agent-pools/{id}/authentication-tokens", list_tokens)
        .post("/api/v2/agent-pools/{id}/authentication-tokens", create_token)
        .get("/api/v2/agents/{id}", show_agent)
        .delete("/api/v2/agents/{id}", delete_agent)
}

async fn list(context: Context, Path(name): Path<String>, parameters: Parameters) -> Reply {
    let organization = context.organization(&name, Permission::ReadOrganization).await?;
    let page = parameters.page();
    let mut query = Query::of::<AgentPool>().equals("organization_id", &organization.id).sort(Sort::Field("name"), Direction::Ascending);
    if let Some(text) = parameters.get("q") {
        query = query.contains("name", text);
    }
    let list = context.app.store.list::<AgentPool>(query.page(page.offset(), page.size).counted()).await?;
    let mut resources = Vec::new();
    for pool in &list.items {
        resources.push(render(&context, pool, &organization).await?);
    }
    Ok(respond::page(&context, &parameters, &resources, list.total))
}

async fn create(context: Context, Path(name): Path<String>, Input(input): Input) -> Reply {
    let organization = context.organization(&name, Permission::ManageOrganization).await?;
    let settings: AgentPoolSettings = jsonapi::patched(None, &input.attributes)?;
    settings.check()?;
    let allowed_workspaces = allowed(&context, &organization.id, &input).await?;
    let app = &context.app;
    let pool =
        AgentPool { id: app.new_id(), created_at: app.now(), organization_id: organization.id.clone(), settings, allowed_workspaces };
    app.store.commit(Batch::new().insert(&pool)).await.map_err(taken)?;
    Ok(respond::created(&render(&context, &pool, &organization).await?))
}

async fn show(context: Context, Path(id): Path<String>) -> Reply {
    let (pool, organization) = visible(&context, &id, Permission::ReadOrganization).await?;
    Ok(respond::shown(&render(&context, &pool, &organization).await?))
}

async fn update(context: Context, Path(id): Path<String>, Input(input): Input) -> Reply {
    let (pool, organization) = visible(&context, &id, Permission::ManageOrganization).await?;
    let settings: AgentPoolSettings = jsonapi::patched(Some(&pool.settings), &input.attributes)?;
    settings.check()?;
    let mut next = AgentPool { settings, ..pool.record.clone() };
    if input.names("allowed-workspaces") {
        next.allowed_workspaces = allowed(&context, &pool.organization_id, &input).await?;
    }
    context.app.store.commit(Batch::new().update(&pool, &next)).await.map_err(taken)?;
    Ok(respond::shown(&render(&context, &next, &organization).await?))
}

async fn delete(context: Context, Path(id): Path<String>) -> Reply {
    let (pool, _) = visible(&context, &id, Permission::ManageOrganization).await?;
    let users = users(&context, &pool).await?;
    if !users.is_empty() {
        let text = format!("{} workspaces still run on this pool; give them another execution mode or pool first", users.len());
        return Err(Refused::because(text).into());
    }
    let open = Query::of::<Job>().equals("queue", &pool.id).any_of("status", ["queued", "claimed"]).limit(1).counted();
    let open = context.app.store.list::<Job>(open).await?.total;
    if open > 0 {
        let text = format!("{open} runs still wait for agents of this pool or are at work on them; let them end, or cancel them first");
        return Err(Refused::because(text).into());
    }
    let tokens = context.app.store.list::<Token>(Query::of::<Token>().equals("owner_id", &pool.id)).await?.items;
    let batch = tokens.iter().fold(Batch::new().delete(&pool), Batch::delete);
    context.app.store.commit(batch).await?;
    Ok(respond::done())
}

async fn list_agents(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let (pool, _) = visible(&context, &id, Permission::ReadOrganization).await?;
    let page = parameters.page();
    let query = Query::of::<Agent>().equals("queue", &pool.id).page(page.offset(), page.size).counted();
    let list = context.app.store.list::<Agent>(query).await?;
    let resources: Vec<_> = list.items.iter().map(|agent| render_agent(&context, agent)).collect();
    Ok(respond::page(&context, &parameters, &resources, list.total))
}

async fn list_tokens(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let (pool, _) = visible(&context, &id, Permission::ManageOrganization).await?;
    let page = parameters.page();
    let query = Query::of::<Token>().equals("owner_id", &pool.id).sort(Sort::Created, Direction::Descending);
    let list = context.app.store.list::<Token>(query.page(page.offset(), page.size).counted()).await?;
    let resources: Vec<_> = list.items.iter().map(|token| tokens::render(token)).collect();
    Ok(respond::page(&context, &parameters, &resources, list.total))
}

async fn create_token(context: Context, Path(id): Path<String>, Input(input): Input) -> Reply {
    let (pool, _) = visible(&context, &id, Permission::ManageOrganization).await?;
    let (token, secret) = tokens::issue(&context, TokenOwner::AgentPool(pool.id.clone()), &input)?;
    context.app.store.commit(Batch::new().check(&pool).insert(&token)).await?;
    Ok(respond::created(&tokens::with_secret(&token, &secret)))
}

async fn show_agent(context: Context, Path(id): Path<String>) -> Reply {
    let agent = visible_agent(&context, &id, Permission::ReadOrganization).await?;
    Ok(respond::shown(&render_agent(&context, &agent)))
}

/// Forgets an agent that is gone; one that is there would be back at once.
async fn delete_agent(context: Context, Path(id): Path<String>) -> Reply {
    let agent = visible_agent(&context, &id, Permission::ManageOrganization).await?;
    if agent.is_present(context.app.now()) {
        return Err(Refused::because("the agent is there; stop it first").into());
    }
    context.app.store.commit(Batch::new().delete(&agent)).await?;
    Ok(respond::done())
}

async fn visible(context: &Context, id: &str, permission: Permission) -> Result<(Versioned<AgentPool>, Versioned<Organization>), ApiError> {
    let pool: Versioned<AgentPool> = context.any(id).await?;
    context.require(permission, Scope { organization: &pool.organization_id, workspace: None }).await?;
    let organization = context.any(pool.organization_id.as_str()).await?;
    Ok((pool, organization))
}

/// Agents of pools belong to the pool's organization; the installation's own workers to site administrators.
async fn visible_agent(context: &Context, id: &str, permission: Permission) -> Result<Versioned<Agent>, ApiError> {
    let agent: Versioned<Agent> = context.any(id).await?;
    match tfe_core::agent::pool_of(&agent.queue) {
        Some(pool) => drop(visible(context, pool.as_str(), permission).await?),
        None => context.require_site_admin()?,
    }
    Ok(agent)
}

async fn allowed(context: &Context, organization: &Id<Organization>, input: &Sent) -> Result<Vec<Id<Workspace>>, ApiError> {
    let mut allowed = Vec::new();
    for id in input.many("allowed-workspaces")?.into_iter().filter_map(|linkage| linkage.id) {
        let workspace = context.app.store.find::<Workspace>(&id).await?.filter(|workspace| workspace.organization_id == *organization);
        let missing = || Invalid::at("/data/relationships/allowed-workspaces", "Workspace does not exist in this organization");
        allowed.push(workspace.ok_or_else(missing)?.id.clone());
    }
    Ok(allowed)
}

/// The workspaces that run on the pool.
async fn users(context: &Context, pool: &AgentPool) -> Result<Vec<Id<Workspace>>, ApiError> {
    let query = Query::of::<Workspace>().equals("organization_id", &pool.organization_id);
    let workspaces = walk::all::<Workspace>(&context.app, query, MAX_WORKSPACES).await?;
    let users = workspaces.into_iter().filter(|workspace| workspace.settings.agent_pool_id.as_ref() == Some(&pool.id));
    Ok(users.map(|workspace| workspace.record.id).collect())
}

/// The pool of that id, if the workspace may use it. The text is the one that clients match.
pub(crate) async fn require_usable(context: &Context, workspace: &Workspace) -> Result<(), ApiError> {
    let Some(id) = &workspace.settings.agent_pool_id else { return Ok(()) };
    let pool = context.app.store.find::<AgentPool>(id.as_str()).await?;
    let pool = pool.filter(|pool| pool.organization_id == workspace.organization_id);
    match pool {
        Some(pool) if pool.serves(&workspace.id) => Ok(()),
        Some(_) => {
            Err(Invalid::attribute("agent-pool-id", "Agent pool is not allowed for this workspace; its settings can allow it").into())
        }
        None => Err(Invalid::attribute("agent-pool-id", "The provided agent pool does not exist").into()),
    }
}

async fn render(context: &Context, pool: &AgentPool, organization: &Organization) -> Result<Resource, ApiError> {
    let links = |ids: &[Id<Workspace>]| ids.iter().map(|id| Linkage::to("workspaces", id)).collect::<Vec<_>>();
    let path = format!("/api/v2/agent-pools/{}", pool.id);
    let fixed = json!({
        "created-at": pool.created_at.to_string(),
        "agent-count": agents::present(&context.app, pool.id.as_str()).await?.len(),
    });
    Ok(Resource::new("agent-pools", &pool.id)
        .attributes(&pool.settings)
        .attributes(&fixed)
        .one("organization", &Linkage::to("organizations", &organization.settings.name))
        .many("workspaces", links(&users(context, pool).await?))
        .many("allowed-workspaces", links(&pool.allowed_workspaces))
        .many("allowed-projects", [])
        .many("excluded-workspaces", [])
        .related("agents", format!("{path}/agents"))
        .related("authentication-tokens", format!("{path}/authentication-tokens"))
        .link("self", path))
}

fn render_agent(context: &Context, agent: &Agent) -> Resource {
    Resource::new("agents", &agent.id).attributes(&json!({
        "name": agent.name,
        "status": agent.presence(context.app.now()),
        "ip-address": agent.address,
        "last-ping-at": agent.last_seen_at.to_string(),
        "created-at": agent.created_at.to_string(),
        "version": agent.version,
        "concurrency": agent.concurrency,
        "working": agent.working,
    }))
}
