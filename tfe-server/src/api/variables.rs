//! Variables of workspaces. A sensitive value goes in and never out.

use axum::{extract::Path, http::StatusCode};
use serde::Deserialize;
use serde_json::json;
use tfe_core::{
    access::Permission,
    error::Invalid,
    id::random_text,
    jsonapi::{self, Document, Linkage, Resource},
    variable::{Category, Variable},
    workspace::Workspace,
};
use tfe_storage::{Batch, Query, StoreExt, Versioned};

use crate::{
    error::{ApiError, Reply},
    http::{body::Input, context::Context, respond, routes::Routes},
    service::assignments,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/workspaces/{id}/vars", list)
        .get("/api/v2/workspaces/{id}/all-vars", list)
        .post("/api/v2/workspaces/{id}/vars", create)
        .get("/api/v2/workspaces/{id}/vars/{variable}", show)
        .patch("/api/v2/workspaces/{id}/vars/{variable}", update)
        .delete("/api/v2/workspaces/{id}/vars/{variable}", delete)
}

/// Most variables of a workspace; all of them are read for each run.
const MAX_VARIABLES: u64 = 1000;
/// Length of the text that tells one version of a variable from another.
const VERSION_LENGTH: usize = 24;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Wanted {
    key: Option<String>,
    value: Option<String>,
    description: Option<String>,
    category: Option<Category>,
    hcl: Option<bool>,
    sensitive: Option<bool>,
}

/// All variables: clients read one page and do not ask for more.
async fn list(context: Context, Path(id): Path<String>) -> Reply {
    let workspace = context.workspace(&id, Permission::ReadVariables).await?;
    let query = Query::of::<Variable>().equals("workspace_id", &workspace.id).limit(MAX_VARIABLES);
    let mut resources = Vec::new();
    for variable in context.app.store.list::<Variable>(query).await?.items {
        resources.push(render(&context, &variable).await?);
    }
    Ok(respond::document(StatusCode::OK, &Document::all(&resources)))
}

async fn create(context: Context, Path(id): Path<String>, Input(input): Input) -> Reply {
    let workspace = context.workspace(&id, Permission::WriteVariables).await?;
    let wanted: Wanted = jsonapi::attributes(&input.attributes)?;
    require_room(&context, &workspace).await?;
    let category = wanted.category.ok_or_else(|| Invalid::attribute("category", "Category must be terraform or env"))?;
    let variable = Variable {
        id: context.app.new_id(),
        created_at: context.app.now(),
        workspace_id: workspace.id.clone(),
        key: String::new(),
        value: None,
        description: None,
        category,
        hcl: false,
        sensitive: false,
        version_id: String::new(),
    };
    let value = wanted.value.clone().unwrap_or_default();
    let variable = changed(&context, variable, Wanted { value: Some(value), ..wanted }).await?;
    context.app.store.commit(Batch::new().insert(&variable)).await.map_err(key_taken)?;
    Ok(respond::created(&render(&context, &variable).await?))
}

async fn show(context: Context, Path((id, variable)): Path<(String, String)>) -> Reply {
    let variable = visible(&context, &id, &variable, Permission::ReadVariables).await?;
    Ok(respond::shown(&render(&context, &variable).await?))
}

async fn update(context: Context, Path((id, variable)): Path<(String, String)>, Input(input): Input) -> Reply {
    let variable = visible(&context, &id, &variable, Permission::WriteVariables).await?;
    let wanted: Wanted = jsonapi::attributes(&input.attributes)?;
    if variable.sensitive && wanted.sensitive == Some(false) {
        return Err(Invalid::attribute("sensitive", "Sensitive cannot be taken back; delete the variable and make a new one").into());
    }
    let next = changed(&context, variable.record.clone(), wanted).await?;
    context.app.store.commit(Batch::new().update(&variable, &next)).await.map_err(key_taken)?;
    Ok(respond::shown(&render(&context, &next).await?))
}

async fn delete(context: Context, Path((id, variable)): Path<(String, String)>) -> Reply {
    let variable = visible(&context, &id, &variable, Permission::WriteVariables).await?;
    context.app.store.commit(Batch::new().delete(&variable)).await?;
    Ok(respond::done())
}

/// The variable as wanted, with its value sealed and a new version if anything that runs see is another.
async fn changed(context: &Context, mut variable: Variable, wanted: Wanted) -> Result<Variable, ApiError> {
    let before = variable.clone();
    variable.key = wanted.key.unwrap_or(variable.key);
    variable.description = wanted.description.or(variable.description);
    variable.category = wanted.category.unwrap_or(variable.category);
    variable.hcl = wanted.hcl.unwrap_or(variable.hcl);
    variable.sensitive = wanted.sensitive.unwrap_or(variable.sensitive);
    variable.check(wanted.value.as_deref().unwrap_or_default())?;
    if let Some(value) = wanted.value {
        let is_same = before.value.is_some() && assignments::open_variable(&context.app, &before).await?.expose() == value;
        if !is_same {
            variable.value = Some(context.app.vault.seal(&Variable::VALUE.context(&variable.id), value.as_bytes()).await?);
        }
    }
    if variable != before {
        variable.version_id = random_text(context.app.entropy.as_ref(), VERSION_LENGTH);
    }
    Ok(variable)
}

async fn visible(context: &Context, workspace: &str, id: &str, permission: Permission) -> Result<Versioned<Variable>, ApiError> {
    let workspace = context.workspace(workspace, permission).await?;
    let variable: Versioned<Variable> = context.any(id).await?;
    if variable.workspace_id == workspace.id { Ok(variable) } else { Err(ApiError::NotFound) }
}

async fn require_room(context: &Context, workspace: &Workspace) -> Result<(), ApiError> {
    let query = Query::of::<Variable>().equals("workspace_id", &workspace.id).limit(1).counted();
    if context.app.store.list::<Variable>(query).await?.total < MAX_VARIABLES {
        return Ok(());
    }
    Err(Invalid::at("/data", format!("A workspace can have {MAX_VARIABLES} variables at most; delete some, or use an object")).into())
}

fn key_taken(error: tfe_storage::Error) -> ApiError {
    match error {
        tfe_storage::Error::AlreadyExists { .. } => Invalid::attribute("key", "Key has already been taken").into(),
        error => error.into(),
    }
}

async fn render(context: &Context, variable: &Variable) -> Result<Resource, ApiError> {
    let value = if variable.sensitive { None } else { Some(assignments::open_variable(&context.app, variable).await?.expose().to_owned()) };
    let attributes = json!({
        "key": variable.key,
        "value": value,
        "description": variable.description,
        "category": variable.category,
        "hcl": variable.hcl,
        "sensitive": variable.sensitive,
        "created-at": variable.created_at.to_string(),
        "version-id": variable.version_id,
    });
    let workspace = &variable.workspace_id;
    Ok(Resource::new("vars", &variable.id)
        .attributes(&attributes)
        .one("configurable", &Linkage::to("workspaces", workspace))
        .one("workspace", &Linkage::to("workspaces", workspace))
        .link("self", format!("/api/v2/workspaces/{workspace}/vars/{}", variable.id)))
}
