//! The first administrator without a browser (Terraform Enterprise, "Initial Admin Creation Token"): whoever has the
//! token creates the administrator, once, and only soon after the start.

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tfe_core::{error::Invalid, secret::Secret};

use crate::{
    app::App,
    error::ApiError,
    http::{body::Document, parameters::Parameters, peer::ClientAddress, routes::Routes},
    service::setup,
};

/// Fewest characters of the first password, as in Terraform Enterprise.
const MIN_PASSWORD_LENGTH: usize = 10;

pub(crate) fn routes() -> Routes {
    Routes::new().get("/admin/retrieve-iact", retrieve).post("/admin/initial-admin-user", create)
}

#[derive(Deserialize)]
struct NewAdmin {
    username: String,
    email: String,
    password: String,
}

/// The token, for those in the subnets that the operator named.
async fn retrieve(State(app): State<App>, ClientAddress(address): ClientAddress) -> Result<String, ApiError> {
    if !app.settings.initial_admin.subnets.iter().any(|subnet| subnet.contains(address)) {
        return Err(ApiError::NotFound);
    }
    let token = setup::initial_admin_token(&app).await?.ok_or(ApiError::NotFound)?;
    Ok(token.expose().to_owned())
}

/// The administrator, with a token to work with.
async fn create(State(app): State<App>, parameters: Parameters, Document(body): Document) -> Result<Json<Value>, ApiError> {
    let expected = setup::initial_admin_token(&app).await?.ok_or(ApiError::NotFound)?;
    let given = parameters.get("token").unwrap_or_default();
    if !bool::from(expected.expose().as_bytes().ct_eq(given.as_bytes())) {
        return Err(ApiError::NotFound);
    }
    let new: NewAdmin = serde_json::from_slice(&body)
        .map_err(|_| ApiError::BadRequest("the body is not {\"username\": …, \"email\": …, \"password\": …}".to_owned()))?;
    if new.password.chars().count() < MIN_PASSWORD_LENGTH {
        return Err(Invalid::attribute("password", format!("Password is too short (minimum is {MIN_PASSWORD_LENGTH} characters)")).into());
    }
    if !new.email.contains('@') {
        return Err(Invalid::attribute("email", "Email is invalid").into());
    }
    let token =
        setup::initial_admin(&app, &new.username, &new.email, Some(&Secret::from(new.password))).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(json!({ "status": "created", "token": token.expose() })))
}
