//! The keys that seal secrets: for site administrators, to rotate them and to seal everything anew.

use axum::{Json, http::StatusCode};
use serde_json::{Value, json};
use tfe_core::rewrap::Rewrap;

use crate::{
    error::ApiError,
    http::{context::Context, routes::Routes},
    service::rewrap,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/admin/keys", show)
        .post("/api/v2/admin/keys/actions/rotate", rotate)
        .post("/api/v2/admin/keys/actions/rewrap", begin)
}

async fn show(context: Context) -> Result<Json<Value>, ApiError> {
    context.require_site_admin()?;
    let progress = rewrap::progress(&context.app).await?;
    Ok(document(progress.as_deref()))
}

/// A new key version, with which everything is sealed from now on.
async fn rotate(context: Context) -> Result<Json<Value>, ApiError> {
    context.require_site_admin()?;
    let version = context.app.vault.rotate().await?;
    tracing::info!(version, "the key that seals secrets was rotated");
    Ok(Json(json!({ "data": { "type": "keys", "id": version.to_string(), "attributes": { "version": version } } })))
}

/// Seals anew what older versions have sealed; in the background.
async fn begin(context: Context) -> Result<(StatusCode, Json<Value>), ApiError> {
    context.require_site_admin()?;
    let progress = rewrap::begin(&context.app).await?;
    Ok((StatusCode::ACCEPTED, document(Some(&progress))))
}

fn document(progress: Option<&Rewrap>) -> Json<Value> {
    let attributes = progress.map(|progress| {
        json!({
            "status": if progress.finished_at.is_some() { "finished" } else { "running" },
            "kind": progress.kind,
            "seen": progress.seen,
            "changed": progress.changed,
            "error": progress.error,
        })
    });
    Json(json!({ "data": { "type": "keys", "id": "keys", "attributes": { "rewrap": attributes } } }))
}
