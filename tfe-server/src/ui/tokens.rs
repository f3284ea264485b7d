//! A person's tokens. `terraform login` without OAuth sends people here to make one and paste it.

use askama::Template;
use axum::{Form, extract::Path, response::Response};
use serde::Deserialize;
use tfe_core::user::{Token, TokenOwner};
use tfe_storage::{Batch, Direction, Query, Sort, StoreExt, Versioned};

use super::{
    page,
    visitor::{SameOrigin, Visitor},
};
use crate::{
    error::{ApiError, Reply},
    http::routes::Routes,
    service::tokens,
};

const PATH: &str = "/app/settings/tokens";

pub(crate) fn routes() -> Routes {
    Routes::new().get(PATH, show).post(PATH, create).post("/app/settings/tokens/{id}/delete", delete)
}

#[derive(Template)]
#[template(path = "tokens.html")]
struct Tokens<'p> {
    username: &'p str,
    tokens: Vec<Versioned<Token>>,
    /// The token that was made just now: shown this once.
    fresh: Option<&'p str>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    description: String,
}

async fn show(visitor: Visitor) -> Reply {
    list(&visitor, None).await
}

async fn create(visitor: Visitor, _: SameOrigin, Form(wanted): Form<Wanted>) -> Reply {
    let app = &visitor.context.app;
    let (token, secret) = tokens::issue(app, TokenOwner::User(visitor.user.id.clone()), wanted.description.trim(), None);
    app.store.commit(Batch::new().insert(&token)).await?;
    list(&visitor, Some(secret.expose())).await
}

async fn delete(visitor: Visitor, _: SameOrigin, Path(id): Path<String>) -> Result<Response, ApiError> {
    let token: Versioned<Token> = visitor.context.any(&id).await?;
    if token.owner != TokenOwner::User(visitor.user.id.clone()) {
        return Err(ApiError::NotFound);
    }
    visitor.context.app.store.commit(Batch::new().delete(&token)).await?;
    Ok(page::see(PATH))
}

async fn list(visitor: &Visitor, fresh: Option<&str>) -> Reply {
    let query = Query::of::<Token>().equals("owner_id", &visitor.user.id).sort(Sort::Created, Direction::Descending);
    let tokens = visitor.context.app.store.list::<Token>(query).await?.items;
    page::page(&Tokens { username: &visitor.user.username, tokens, fresh })
}
