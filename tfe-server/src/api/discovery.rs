//! What a client asks before anything else: which services there are, and which version it talks to.

use axum::{
    Json,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use serde_json::{Value, json};

use crate::{
    error::Reply,
    http::{respond, routes::Routes},
};

/// The version of the protocol. Clients ask for 2.5 at least, and 2.6 is the newest (contract 1.2).
const API_VERSION: HeaderValue = HeaderValue::from_static("2.6");
/// The name that makes clients treat the server as an installation and not as the hosted service.
const APP_NAME: HeaderValue = HeaderValue::from_static("Terraform Enterprise");
/// The release whose behaviour is implemented. A missing or older one makes the CLI keep plans to itself (contract 1.2).
const MONTHLY_VERSION: HeaderValue = HeaderValue::from_static("v202511-1");
/// The same release in the numbering that newer clients compare.
const CURRENT_VERSION: HeaderValue = HeaderValue::from_static("1.1.0");

pub(crate) fn routes() -> Routes {
    Routes::new().get("/.well-known/terraform.json", services).get("/api/v2/ping", ping)
}

/// Says on every answer what it comes from.
pub(crate) async fn version_headers(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    if is_api {
        add_versions(response.headers_mut());
    }
    response
}

fn add_versions(headers: &mut HeaderMap) {
    headers.insert(HeaderName::from_static("tfp-api-version"), API_VERSION);
    headers.insert(HeaderName::from_static("tfp-appname"), APP_NAME);
    headers.insert(HeaderName::from_static("x-tfe-version"), MONTHLY_VERSION);
    headers.insert(HeaderName::from_static("x-tfe-current-version"), CURRENT_VERSION);
}

async fn ping() -> Reply {
    Ok(respond::done())
}

async fn services() -> Json<Value> {
    Json(json!({
        "tfe.v2": "/api/v2/",
        "tfe.v2.1": "/api/v2/",
        "tfe.v2.2": "/api/v2/",
        "state.v2": "/api/v2/",
        "login.v1": {
            "client": "terraform-cli",
            "grant_types": ["authz_code"],
            "authz": "/oauth/authorization",
            "token": "/oauth/token",
            "ports": [10000, 10010],
        },
    }))
}
