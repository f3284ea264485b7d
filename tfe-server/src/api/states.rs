//! State versions: made by clients that hold the lock, read by those who may.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tfe_core::{
    access::Permission,
    blob::Blob,
    error::{Invalid, Refused},
    id::Id,
    jsonapi::{self, Document, Linkage, Resource},
    state_version::{StateStatus, StateVersion},
    user::User,
    workspace::Workspace,
};
use tfe_storage::{Batch, Direction, Query, Sort, StoreExt, Versioned};

use super::{account, outputs};
use crate::{
    app::App,
    error::{ApiError, Reply},
    http::{
        body::{Input, upload},
        context::Context,
        parameters::Parameters,
        respond,
        routes::Routes,
        signed::{Permit, Purpose},
    },
    service::states::{self, NewState},
};

const INCLUDES: &[&str] = &["outputs", "created-by", "run", "run.created-by", "run.configuration-version"];

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/state-versions", list)
        .get("/api/v2/state-versions/{id}", show)
        .get("/api/v2/state-versions/{id}/download", download)
        .post("/api/v2/workspaces/{id}/state-versions", create)
        .patch("/api/v2/workspaces/{id}/state-versions", roll_back)
        .get("/api/v2/workspaces/{id}/current-state-version", current)
        .put("/_signed/state-upload/{id}/{until}/{mac}", receive)
        .put("/_signed/json-state-upload/{id}/{until}/{mac}", receive_json)
        .get("/_signed/state-download/{id}/{until}/{mac}", send)
        .get("/_signed/json-state-download/{id}/{until}/{mac}", send_json)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct NewVersion {
    serial: u64,
    md5: String,
    #[serde(default)]
    lineage: Option<String>,
    #[serde(default)]
    force: Option<bool>,
    #[serde(default)]
    state: Option<String>,
}

async fn create(context: Context, Path(id): Path<String>, Input(input): Input) -> Reply {
    let workspace = context.workspace(&id, Permission::WriteState).await?;
    require_lock(&context, &workspace)?;
    let wanted: NewVersion = jsonapi::attributes(&input.attributes)?;
    let inline = wanted.state.as_deref().map(|text| STANDARD.decode(text)).transpose();
    let inline = inline.map_err(|_| Invalid::attribute("state", "State is not base64"))?;
    let new = NewState {
        serial: wanted.serial,
        lineage: wanted.lineage,
        md5: wanted.md5,
        force: wanted.force.unwrap_or(false),
        run_id: input.one("run").map(Id::from),
        created_by: context.user_id(),
        rolled_back_from: None,
    };
    let mut version = states::announce(&context.app, &workspace, new).await?;
    if let Some(content) = inline {
        version = states::fill(&context.app, version.id.as_str(), stream::iter([Ok(Bytes::from(content))])).await?;
    }
    Ok(respond::created(&render(&context, &version).await?))
}

/// Goes back to an earlier state, as a new version.
async fn roll_back(context: Context, Path(id): Path<String>, Input(input): Input) -> Reply {
    let workspace = context.workspace(&id, Permission::WriteState).await?;
    require_lock(&context, &workspace)?;
    let pointer = "/data/relationships/rollback-state-version";
    let from = input.one("rollback-state-version").ok_or_else(|| Invalid::at(pointer, "Rollback state version must be given"))?;
    let from: Versioned<StateVersion> = context.any(&from).await?;
    if from.workspace_id != workspace.id {
        return Err(ApiError::NotFound);
    }
    let version = states::roll_back(&context.app, &workspace, &from, context.user_id()).await?;
    Ok(respond::created(&render(&context, &version).await?))
}

async fn list(context: Context, parameters: Parameters) -> Reply {
    let filter = |name: &str| {
        let missing = || Invalid::at("", format!("filter[{name}][name] must be given"));
        parameters.get(&format!("filter[{name}][name]")).map(str::to_owned).ok_or_else(missing)
    };
    let (organization, workspace) = (filter("organization")?, filter("workspace")?);
    let (_, workspace) = context.named_workspace(&organization, &workspace, Permission::ReadState).await?;
    let page = parameters.page();
    let status = parameters.get("filter[status]").unwrap_or("finalized").to_owned();
    let query = Query::of::<StateVersion>().equals("workspace_id", &workspace.id).equals("status", status);
    let query = query.sort(Sort::Created, Direction::Descending).page(page.offset(), page.size).counted();
    let list = context.app.store.list::<StateVersion>(query).await?;
    let mut resources = Vec::new();
    for version in &list.items {
        resources.push(render(&context, version).await?);
    }
    Ok(respond::page(&context, &parameters, &resources, list.total))
}

async fn show(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let version = visible(&context, &id).await?;
    shown(&context, &version, &parameters).await
}

async fn current(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let workspace = context.workspace(&id, Permission::ReadState).await?;
    let version = states::current(&context.app, &workspace).await?.ok_or(ApiError::NotFound)?;
    shown(&context, &version, &parameters).await
}

async fn download(context: Context, Path(id): Path<String>) -> Reply {
    let version = visible(&context, &id).await?;
    content(&context.app, version.content.as_ref()).await
}

async fn receive(State(app): State<App>, Path(permit): Path<Permit>, body: Body) -> Reply {
    app.signer.check(Purpose::StateUpload, &permit, app.now())?;
    states::fill(&app, &permit.id, upload(body, app.settings.max_upload_silence)).await?;
    Ok(StatusCode::OK.into_response())
}

async fn receive_json(State(app): State<App>, Path(permit): Path<Permit>, body: Body) -> Reply {
    app.signer.check(Purpose::JsonStateUpload, &permit, app.now())?;
    app.store.find::<StateVersion>(&permit.id).await?.ok_or(ApiError::NotFound)?;
    let blob = app.blobs.put(app.new_id(), app.now(), upload(body, app.settings.max_upload_silence), app.settings.max_state_bytes).await?;
    app.store.commit(Batch::new().insert(&blob)).await?;
    app.store.update::<StateVersion>(&permit.id, |version| StateVersion { json_content: Some(blob.id.clone()), ..version }).await?;
    Ok(StatusCode::OK.into_response())
}

async fn send(State(app): State<App>, Path(permit): Path<Permit>) -> Reply {
    app.signer.check(Purpose::StateDownload, &permit, app.now())?;
    let version = app.store.find::<StateVersion>(&permit.id).await?.ok_or(ApiError::NotFound)?;
    content(&app, version.content.as_ref()).await
}

async fn send_json(State(app): State<App>, Path(permit): Path<Permit>) -> Reply {
    app.signer.check(Purpose::JsonStateDownload, &permit, app.now())?;
    let version = app.store.find::<StateVersion>(&permit.id).await?.ok_or(ApiError::NotFound)?;
    content(&app, version.json_content.as_ref()).await
}

async fn content(app: &App, id: Option<&Id<Blob>>) -> Reply {
    let id = id.ok_or(ApiError::NotFound)?;
    let blob = app.store.find::<Blob>(id.as_str()).await?.ok_or(ApiError::NotFound)?;
    let body = Body::from_stream(app.blobs.read(&blob, None).await?.boxed());
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_LENGTH, blob.size.to_string())];
    Ok((headers, body).into_response())
}

/// State is taken from whoever holds the lock, and from nobody else.
fn require_lock(context: &Context, workspace: &Workspace) -> Result<(), ApiError> {
    if workspace.is_locked_by(&context.lock_holder()?) {
        return Ok(());
    }
    let reason = "This workspace is not locked and will only accept state uploads when locked; lock it, or wait until it is yours";
    Err(Refused::because(reason).into())
}

async fn visible(context: &Context, id: &str) -> Result<Versioned<StateVersion>, ApiError> {
    let version: Versioned<StateVersion> = context.any(id).await?;
    context.workspace(version.workspace_id.as_str(), Permission::ReadState).await?;
    Ok(version)
}

async fn shown(context: &Context, version: &StateVersion, parameters: &Parameters) -> Result<Response, ApiError> {
    let wanted = parameters.include(INCLUDES)?;
    let document = Document::one(&render(context, version).await?);
    let mut included = Vec::new();
    if wanted.iter().any(|name| name == "outputs") {
        for output in states::outputs(&context.app, &version.id).await? {
            included.push(outputs::render(&context.app, &output, false).await?);
        }
    }
    if let Some(user) = version.created_by.as_ref().filter(|_| wanted.iter().any(|name| name == "created-by")) {
        let user: Versioned<User> = context.any(user.as_str()).await?;
        included.push(account::render(&user));
    }
    Ok(respond::document(StatusCode::OK, &document.including(included)))
}

/// A state version as clients see it.
pub(crate) async fn render(context: &Context, version: &StateVersion) -> Result<Resource, ApiError> {
    let url = |purpose| context.url(&context.app.signer.path(purpose, version.id.as_str(), context.app.now()));
    let is_pending = version.status == StateStatus::Pending;
    let outputs = states::outputs(&context.app, &version.id).await?;
    let attributes = json!({
        "billable-rum-count": version.resources.iter().map(|resource| resource.count).sum::<u64>(),
        "created-at": version.created_at.to_string(),
        "hosted-state-download-url": version.content.as_ref().map(|_| url(Purpose::StateDownload)),
        "hosted-json-state-download-url": version.json_content.as_ref().map(|_| url(Purpose::JsonStateDownload)),
        "hosted-state-upload-url": is_pending.then(|| url(Purpose::StateUpload)),
        "hosted-json-state-upload-url": is_pending.then(|| url(Purpose::JsonStateUpload)),
        "intermediate": version.intermediate,
        "lineage": version.lineage,
        "md5": version.md5,
        "modules": {},
        "providers": {},
        "resources": version.resources,
        "resources-processed": !is_pending,
        "rollback-state-version": version.rolled_back_from,
        "serial": version.serial,
        "size": version.size,
        "state-version": 4,
        "status": version.status,
        "terraform-version": version.terraform_version,
        "vcs-commit-sha": null,
        "vcs-commit-url": null,
    });
    Ok(Resource::new("state-versions", &version.id)
        .attributes(&attributes)
        .maybe("run", version.run_id.as_ref().map(|id| Linkage::to("runs", id)))
        .maybe("created-by", version.created_by.as_ref().map(|id| Linkage::to("users", id)))
        .one("workspace", &Linkage::to("workspaces", &version.workspace_id))
        .many("outputs", outputs.iter().map(|output| Linkage::to("state-version-outputs", &output.id)))
        .link("self", format!("/api/v2/state-versions/{}", version.id)))
}
