//! Snapshots and what followed from the last restore: for site administrators.

use axum::{Json, extract::Path, http::StatusCode};
use serde_json::{Value, json};
use tfe_core::{error::Refused, installation::Restoration};
use tfe_storage::snapshot::{Choice, Manifest, SnapshotError};

use crate::{
    error::ApiError,
    http::{context::Context, routes::Routes},
    service::restored,
    snapshots::Snapshots,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/admin/snapshots", list)
        .post("/api/v2/admin/snapshots", create)
        .post("/api/v2/admin/snapshots/{id}/actions/verify", verify)
        .post("/api/v2/admin/snapshots/actions/prune", prune)
        .get("/api/v2/admin/restoration", show_restoration)
        .post("/api/v2/admin/restoration/actions/resume-applies", resume_applies)
}

async fn list(context: Context) -> Result<Json<Value>, ApiError> {
    let listed = snapshots(&context)?.list().await.map_err(failed)?;
    let rows = listed.iter().map(|listed| match &listed.manifest {
        Ok(manifest) => render(manifest),
        Err(error) => json!({ "type": "snapshots", "id": listed.id, "attributes": { "error": error.to_string() } }),
    });
    Ok(Json(json!({ "data": rows.collect::<Vec<_>>() })))
}

/// Answers when the snapshot is there, which goes on if the client does not wait.
async fn create(context: Context) -> Result<(StatusCode, Json<Value>), ApiError> {
    let snapshots = snapshots(&context)?;
    let created = tokio::spawn(async move { snapshots.create(&mut |_, _| {}).await });
    let manifest = created.await.map_err(ApiError::internal)?.map_err(failed)?;
    Ok((StatusCode::CREATED, Json(json!({ "data": render(&manifest) }))))
}

/// Restores for trial. The id `newest` stands for the newest one, with what was committed after it.
async fn verify(context: Context, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let snapshots = snapshots(&context)?;
    let choice = if id == "newest" { Choice::Newest } else { Choice::Snapshot(id) };
    let drilled = tokio::spawn(async move { snapshots.verify(&choice, &mut |_, _| {}).await });
    let drilled = drilled.await.map_err(ApiError::internal)?.map_err(failed)?;
    Ok(Json(json!({
        "data": {
            "type": "snapshot-verifications",
            "id": drilled.snapshot,
            "attributes": {
                "reached": drilled.reached.to_string(),
                "records": drilled.records,
                "blobs": drilled.blobs,
                "commits": drilled.commits,
                "states": drilled.states,
            },
        },
    })))
}

async fn prune(context: Context) -> Result<Json<Value>, ApiError> {
    let pruned = snapshots(&context)?.prune().await.map_err(failed)?;
    let attributes = json!({ "snapshots": pruned.snapshots, "objects": pruned.objects, "unreadable": pruned.unreadable });
    Ok(Json(json!({ "data": { "type": "snapshot-removals", "id": "removal", "attributes": attributes } })))
}

async fn show_restoration(context: Context) -> Result<Json<Value>, ApiError> {
    context.require_site_admin()?;
    Ok(document(restored::restoration(&context.app).await?))
}

async fn resume_applies(context: Context) -> Result<Json<Value>, ApiError> {
    context.require_site_admin()?;
    let restoration = restored::resume(&context.app).await?;
    tracing::info!("an operator lets runs apply by themselves again");
    Ok(document(restoration))
}

fn snapshots(context: &Context) -> Result<Snapshots, ApiError> {
    context.require_site_admin()?;
    let missing = || Refused::because("no snapshots are taken here; say where they go in TFE_BACKUP_URL");
    Ok(context.app.snapshots.clone().ok_or_else(missing)?)
}

fn failed(error: SnapshotError) -> ApiError {
    match error {
        SnapshotError::NoSnapshot(_) => ApiError::NotFound,
        SnapshotError::Damaged(_)
        | SnapshotError::Inconsistent(_)
        | SnapshotError::Incomplete { .. }
        | SnapshotError::Busy(_)
        | SnapshotError::NoInstallation
        | SnapshotError::Foreign(_) => Refused::because(error.to_string()).into(),
        error => ApiError::internal(error),
    }
}

fn document(restoration: Option<Restoration>) -> Json<Value> {
    let attributes = restoration.map(|restoration| {
        json!({
            "restored-at": restoration.at.to_string(),
            "snapshot": restoration.snapshot,
            "reached": restoration.reached.to_string(),
            "applies-paused": restoration.applies_paused,
        })
    });
    Json(json!({ "data": { "type": "restorations", "id": "restoration", "attributes": { "restoration": attributes } } }))
}

fn render(manifest: &Manifest) -> Value {
    json!({
        "type": "snapshots",
        "id": manifest.id,
        "attributes": {
            "created-at": manifest.created_at.to_string(),
            "program": manifest.program,
            "records": manifest.records,
            "blobs": manifest.blobs,
            "blob-bytes": manifest.blob_bytes,
        },
    })
}
