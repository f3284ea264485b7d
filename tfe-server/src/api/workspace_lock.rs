//! The lock of a workspace: taken, given back, forced.

use axum::extract::Path;
use serde_json::Value;
use tfe_core::{
    access::Permission,
    error::{Invalid, Refused},
};

use super::workspace_rendering;
use crate::{
    error::{Reply, chain},
    http::{body::Document, context::Context, respond, routes::Routes},
    service::{self, states, workspaces::change},
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .post("/api/v2/workspaces/{id}/actions/lock", lock)
        .post("/api/v2/workspaces/{id}/actions/unlock", unlock)
        .post("/api/v2/workspaces/{id}/actions/force-unlock", force_unlock)
}

async fn lock(context: Context, Path(id): Path<String>, Document(body): Document) -> Reply {
    context.workspace(&id, Permission::WriteState).await?;
    let (holder, reason, now) = (context.lock_holder()?, reason(&body)?, context.app.now());
    let locked = change(&context.app, &id, |workspace| Ok(workspace.locked(holder.clone(), reason.clone(), now)?)).await?;
    Ok(respond::shown(&workspace_rendering::render(&context, &locked).await?))
}

async fn unlock(context: Context, Path(id): Path<String>) -> Reply {
    let workspace = context.workspace(&id, Permission::WriteState).await?;
    let (holder, now) = (context.lock_holder()?, context.app.now());
    if workspace.is_locked_by(&holder) && !states::pending(&context.app, &workspace.id).await?.is_empty() {
        // The CLI looks for these words and tries again (contract 1.11).
        return Err(Refused::because("latest state version is still pending; upload its content, or force-unlock the workspace").into());
    }
    let unlocked = change(&context.app, &id, |workspace| Ok(workspace.unlocked(&holder, now)?)).await?;
    service::admit_next(&context.app, &unlocked.id).await;
    Ok(respond::shown(&workspace_rendering::render(&context, &unlocked).await?))
}

async fn force_unlock(context: Context, Path(id): Path<String>) -> Reply {
    context.workspace(&id, Permission::ManageWorkspace).await?;
    let now = context.app.now();
    let unlocked = change(&context.app, &id, |workspace| Ok(workspace.force_unlocked(now)?)).await?;
    // The workspace is unlocked whatever fails from here on; who locks it next can force it again.
    if let Err(error) = states::discard_pending(&context.app, &unlocked.id).await {
        tracing::warn!(workspace = %unlocked.id, error = chain(&error), "states that never came are still awaited");
    }
    service::admit_next(&context.app, &unlocked.id).await;
    Ok(respond::shown(&workspace_rendering::render(&context, &unlocked).await?))
}

/// The reason comes in a plain document from go-tfe and as an attribute from the CLI.
fn reason(body: &[u8]) -> Result<String, Invalid> {
    if body.trim_ascii().is_empty() {
        return Ok(String::new());
    }
    let body: Value = serde_json::from_slice(body).map_err(|error| Invalid::at("", error.to_string()))?;
    let reason = body.get("reason").or_else(|| body.pointer("/data/attributes/reason")).and_then(Value::as_str);
    Ok(reason.unwrap_or_default().to_owned())
}
