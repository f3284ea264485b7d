//! Tokens of people and organizations. The secret is in the answer that makes one, and nowhere else.

use axum::extract::Path;
use serde::Deserialize;
use serde_json::json;
use tfe_core::{
    access::{Permission, Scope},
    agent::AgentPool,
    error::Invalid,
    id::Id,
    jsonapi::{self, Linkage, Resource},
    secret::Secret,
    time::Timestamp,
    user::{Token, TokenOwner, User},
};
use tfe_storage::{Batch, Direction, Query, Sort, StoreExt, Versioned};

use crate::{
    error::{ApiError, Reply},
    http::{body::Input, context::Context, parameters::Parameters, respond, routes::Routes},
    service::tokens,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/users/{id}/authentication-tokens", list)
        .post("/api/v2/users/{id}/authentication-tokens", create)
        .get("/api/v2/authentication-tokens/{id}", show)
        .delete("/api/v2/authentication-tokens/{id}", delete)
        .get("/api/v2/organizations/{name}/authentication-token", show_of_organization)
        .post("/api/v2/organizations/{name}/authentication-token", create_for_organization)
        .delete("/api/v2/organizations/{name}/authentication-token", delete_of_organization)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Wanted {
    description: Option<String>,
    expired_at: Option<String>,
}

async fn list(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let user = own(&context, &id)?;
    let page = parameters.page();
    let query = Query::of::<Token>().equals("owner_id", &user).sort(Sort::Created, Direction::Descending);
    let list = context.app.store.list::<Token>(query.page(page.offset(), page.size).counted()).await?;
    let resources: Vec<_> = list.items.iter().map(|token| render(token)).collect();
    Ok(respond::page(&context, &parameters, &resources, list.total))
}

async fn create(context: Context, Path(id): Path<String>, Input(input): Input) -> Reply {
    let user = own(&context, &id)?;
    let (token, secret) = issue(&context, TokenOwner::User(user), &input)?;
    context.app.store.commit(Batch::new().insert(&token)).await?;
    Ok(respond::created(&with_secret(&token, &secret)))
}

async fn show(context: Context, Path(id): Path<String>) -> Reply {
    Ok(respond::shown(&render(&visible(&context, &id).await?.record)))
}

async fn delete(context: Context, Path(id): Path<String>) -> Reply {
    let token = visible(&context, &id).await?;
    context.app.store.commit(Batch::new().delete(&token)).await?;
    Ok(respond::done())
}

async fn show_of_organization(context: Context, Path(name): Path<String>) -> Reply {
    let token = of_organization(&context, &name).await?.ok_or(ApiError::NotFound)?;
    Ok(respond::shown(&render(&token)))
}

/// An organization has one token; a new one replaces it.
async fn create_for_organization(context: Context, Path(name): Path<String>, Input(input): Input) -> Reply {
    let organization = context.organization(&name, Permission::ManageOrganization).await?;
    let (token, secret) = issue(&context, TokenOwner::Organization(organization.id.clone()), &input)?;
    let batch = match of_organization(&context, &name).await? {
        Some(old) => Batch::new().delete(&old),
        None => Batch::new(),
    };
    context.app.store.commit(batch.insert(&token)).await?;
    Ok(respond::created(&with_secret(&token, &secret)))
}

async fn delete_of_organization(context: Context, Path(name): Path<String>) -> Reply {
    let token = of_organization(&context, &name).await?.ok_or(ApiError::NotFound)?;
    context.app.store.commit(Batch::new().delete(&token)).await?;
    Ok(respond::done())
}

/// People handle their own tokens only; an administrator who needs one for somebody else asks the operator.
fn own(context: &Context, id: &str) -> Result<Id<User>, ApiError> {
    context.user_id().filter(|own| own.as_str() == id).ok_or(ApiError::NotFound)
}

pub(crate) fn issue(context: &Context, owner: TokenOwner, input: &jsonapi::Input) -> Result<(Token, Secret), ApiError> {
    let wanted: Wanted = jsonapi::attributes(&input.attributes)?;
    let expires_at =
        match wanted.expired_at.as_deref() {
            Some(text) => Some(Timestamp::parse(text).filter(|time| *time > context.app.now()).ok_or_else(|| {
                Invalid::attribute("expired-at", "Expired at must be a time in the future, such as 2030-01-31T12:00:00Z")
            })?),
            None => None,
        };
    Ok(tokens::issue(&context.app, owner, wanted.description.as_deref().unwrap_or_default(), expires_at))
}

async fn visible(context: &Context, id: &str) -> Result<Versioned<Token>, ApiError> {
    let token: Versioned<Token> = context.any(id).await?;
    match &token.owner {
        TokenOwner::User(user) => own(context, user.as_str()).map(drop)?,
        TokenOwner::Organization(organization) => {
            context.require(Permission::ManageOrganization, Scope { organization, workspace: None }).await?;
        }
        TokenOwner::AgentPool(pool) => {
            let pool: Versioned<AgentPool> = context.any(pool.as_str()).await?;
            let scope = Scope { organization: &pool.organization_id, workspace: None };
            context.require(Permission::ManageOrganization, scope).await?;
        }
    }
    Ok(token)
}

async fn of_organization(context: &Context, name: &str) -> Result<Option<Versioned<Token>>, ApiError> {
    let organization = context.organization(name, Permission::ManageOrganization).await?;
    Ok(context.app.store.find_by::<Token>("owner_id", organization.id.as_str()).await?)
}

pub(crate) fn with_secret(token: &Token, secret: &Secret) -> Resource {
    render(token).attribute("token", secret.expose())
}

pub(crate) fn render(token: &Token) -> Resource {
    let attributes = json!({
        "created-at": token.created_at.to_string(),
        "last-used-at": token.last_used_at.map(|time| time.to_string()),
        "expired-at": token.expires_at.map(|time| time.to_string()),
        "description": token.description,
        "token": null,
    });
    let creator = match &token.owner {
        TokenOwner::User(id) => Some(Linkage::to("users", id)),
        TokenOwner::Organization(_) | TokenOwner::AgentPool(_) => None,
    };
    Resource::new("authentication-tokens", &token.id).attributes(&attributes).maybe("created-by", creator)
}
