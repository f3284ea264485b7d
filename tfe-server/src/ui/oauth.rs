//! `terraform login`: the CLI opens the approval page, a person approves, the CLI exchanges the code for a token.
//!
//! OAuth 2 authorization code with PKCE (RFC 7636), as the CLI does it: a public client without a secret, S256 only,
//! and a redirect to the port on which the CLI listens on the same machine.

use askama::Template;
use axum::{
    Form, Json,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tfe_core::user::{AuthorizationCode, TokenOwner};
use tfe_storage::{Batch, StoreExt, Versioned};
use url::Url;

use super::{
    page,
    visitor::{SameOrigin, Visitor},
};
use crate::{
    app::App,
    error::{ApiError, Reply},
    http::routes::Routes,
    service::tokens,
};

/// The name by which the CLI is told to call itself.
const CLIENT: &str = "terraform-cli";
/// How long a code is good, in seconds: the CLI exchanges it at once.
const CODE_SECONDS: i64 = 60;
/// Where the approval may lead: to the CLI on the person's own machine.
const REDIRECT_TARGETS: &str = "http://localhost:* http://127.0.0.1:*";

pub(crate) fn routes() -> Routes {
    Routes::new().get("/oauth/authorization", ask).post("/oauth/authorization", decide).post("/oauth/token", exchange)
}

/// What the CLI asks for; it comes back with the form.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Request {
    client_id: String,
    response_type: String,
    code_challenge: String,
    code_challenge_method: String,
    redirect_uri: String,
    state: String,
    decision: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Exchange {
    grant_type: String,
    client_id: String,
    code: String,
    code_verifier: String,
    redirect_uri: String,
}

#[derive(Template)]
#[template(path = "authorization.html")]
struct Approval<'p> {
    request: &'p Request,
    username: &'p str,
}

async fn ask(visitor: Visitor, Query(request): Query<Request>) -> Reply {
    request.check()?;
    let page = page::page(&Approval { request: &request, username: &visitor.user.username })?;
    Ok(page::with_form_targets(page, REDIRECT_TARGETS))
}

async fn decide(visitor: Visitor, _: SameOrigin, Form(request): Form<Request>) -> Reply {
    let target = request.check()?;
    if request.decision != "approve" {
        return Ok(back(target, &[("error", "access_denied"), ("state", &request.state)]));
    }
    let app = &visitor.context.app;
    let secret = tokens::new_secret(app);
    let code = AuthorizationCode {
        id: app.new_id(),
        created_at: app.now(),
        digest: tokens::digest(secret.expose()),
        user_id: visitor.user.id.clone(),
        challenge: request.code_challenge.clone(),
        redirect_uri: request.redirect_uri.clone(),
        expires_at: app.now().plus_seconds(CODE_SECONDS),
    };
    app.store.commit(Batch::new().insert(&code)).await?;
    Ok(back(target, &[("code", secret.expose()), ("state", &request.state)]))
}

/// A code is good once: it is deleted by the commit that makes the token.
async fn exchange(State(app): State<App>, Form(exchange): Form<Exchange>) -> Reply {
    if exchange.grant_type != "authorization_code" || exchange.client_id != CLIENT {
        return Ok(refused("unsupported_grant_type"));
    }
    let found = app.store.find_by::<AuthorizationCode>("digest", &tokens::digest(&exchange.code)).await?;
    let Some(code) = found.filter(|code| exchange.answers(code) && code.expires_at > app.now()) else {
        return Ok(refused("invalid_grant"));
    };
    redeem(&app, &code).await
}

async fn redeem(app: &App, code: &Versioned<AuthorizationCode>) -> Reply {
    let owner = TokenOwner::User(code.user_id.clone());
    let (token, secret) = tokens::issue(app, owner, "terraform login", None);
    match app.store.commit(Batch::new().delete(code).insert(&token)).await {
        Ok(()) => Ok(Json(json!({ "access_token": secret.expose(), "token_type": "bearer" })).into_response()),
        Err(tfe_storage::Error::Conflict { .. }) => Ok(refused("invalid_grant")),
        Err(error) => Err(error.into()),
    }
}

impl Request {
    /// Where to send the person back to, if the request is one that the CLI makes.
    fn check(&self) -> Result<Url, ApiError> {
        let wrong = |what: &str| ApiError::BadRequest(format!("{what}; start again with terraform login"));
        if self.client_id != CLIENT || self.response_type != "code" {
            return Err(wrong("this page is for terraform login only"));
        }
        if self.code_challenge_method != "S256" || self.code_challenge.is_empty() {
            return Err(wrong("the code challenge must use S256"));
        }
        let target = Url::parse(&self.redirect_uri).map_err(|_| wrong("the redirect is no URL"))?;
        let is_own_machine = target.scheme() == "http" && matches!(target.host_str(), Some("localhost" | "127.0.0.1"));
        if is_own_machine && target.port().is_some() {
            Ok(target)
        } else {
            Err(wrong("the redirect must lead to a port of your own machine"))
        }
    }
}

impl Exchange {
    fn answers(&self, code: &AuthorizationCode) -> bool {
        let answer = URL_SAFE_NO_PAD.encode(Sha256::digest(self.code_verifier.as_bytes()));
        bool::from(answer.as_bytes().ct_eq(code.challenge.as_bytes())) && self.redirect_uri == code.redirect_uri
    }
}

fn back(mut target: Url, parameters: &[(&str, &str)]) -> Response {
    target.query_pairs_mut().extend_pairs(parameters);
    page::see(target.as_str())
}

fn refused(error: &str) -> Response {
    let description = "the code is wrong, used or expired; start again with terraform login";
    (StatusCode::BAD_REQUEST, Json(json!({ "error": error, "error_description": description }))).into_response()
}
