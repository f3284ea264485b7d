//! The servers of the installation: for site administrators, to see them and to drain one.

use axum::{Json, extract::Path, http::StatusCode};
use serde_json::{Value, json};
use tfe_core::node::Node;

use crate::{
    error::{ApiError, Reply},
    http::{context::Context, routes::Routes},
    service::nodes,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/admin/nodes", list)
        .post("/api/v2/admin/nodes/{name}/actions/drain", drain)
        .post("/api/v2/admin/nodes/{name}/actions/undrain", undrain)
}

async fn list(context: Context) -> Result<Json<Value>, ApiError> {
    context.require_site_admin()?;
    let nodes = nodes::list(&context.app).await?;
    let nodes: Vec<Value> = nodes.iter().map(|node| render(&context, node)).collect();
    Ok(Json(json!({ "data": nodes })))
}

async fn drain(context: Context, Path(name): Path<String>) -> Reply {
    change(&context, &name, true).await
}

async fn undrain(context: Context, Path(name): Path<String>) -> Reply {
    change(&context, &name, false).await
}

async fn change(context: &Context, name: &str, drain: bool) -> Reply {
    use axum::response::IntoResponse;
    context.require_site_admin()?;
    let node = nodes::request_drain(&context.app, name, drain).await?;
    tracing::info!(node = name, drain, "an operator asked a node to take no new work, or to take it again");
    Ok((StatusCode::ACCEPTED, Json(json!({ "data": render(context, &node) }))).into_response())
}

fn render(context: &Context, node: &Node) -> Value {
    json!({
        "type": "nodes",
        "id": node.id,
        "attributes": {
            "name": node.name,
            "version": node.version,
            "status": node.standing(context.app.now()),
            "condition": node.condition,
            "started-at": node.started_at.to_string(),
            "last-seen-at": node.last_seen_at.to_string(),
            "drain-requested": node.drain_requested,
        },
    })
}
