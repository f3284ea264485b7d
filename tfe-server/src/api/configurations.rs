//! Configuration versions: announced, uploaded once, checked while they come.

use axum::extract::State;
use axum::{body::Body, extract::Path, response::IntoResponse};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tfe_core::{
    access::Permission,
    blob::Blob,
    configuration::{ConfigurationVersion, UploadStatus},
    id::Id,
    jsonapi::{self, Resource},
    workspace::Workspace,
};
use tfe_runner::archive;
use tfe_storage::{Batch, Direction, Query, Sort, StoreExt, Versioned};

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
    service::runs,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/workspaces/{id}/configuration-versions", list)
        .post("/api/v2/workspaces/{id}/configuration-versions", create)
        .get("/api/v2/configuration-versions/{id}", show)
        .get("/api/v2/configuration-versions/{id}/download", download)
        .put("/_signed/configuration-upload/{id}/{until}/{mac}", receive)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct NewConfiguration {
    auto_queue_runs: bool,
    speculative: bool,
    provisional: bool,
    /// An addition of this server, until branches come from version control.
    branch: Option<String>,
}

impl Default for NewConfiguration {
    fn default() -> Self {
        Self { auto_queue_runs: true, speculative: false, provisional: false, branch: None }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Attributes<'c> {
    auto_queue_runs: bool,
    error: Option<&'static str>,
    error_message: Option<&'c str>,
    provisional: bool,
    source: &'c str,
    speculative: bool,
    status: UploadStatus,
    status_timestamps: serde_json::Value,
    changed_files: [String; 0],
    upload_url: Option<String>,
}

async fn list(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let workspace = context.workspace(&id, Permission::ReadWorkspace).await?;
    let page = parameters.page();
    let query = Query::of::<ConfigurationVersion>().equals("workspace_id", &workspace.id).sort(Sort::Created, Direction::Descending);
    let list = context.app.store.list::<ConfigurationVersion>(query.page(page.offset(), page.size).counted()).await?;
    let resources: Vec<_> = list.items.iter().map(|version| render(version)).collect();
    Ok(respond::page(&context, &parameters, &resources, list.total))
}

async fn create(context: Context, Path(id): Path<String>, Input(input): Input) -> Reply {
    let workspace = context.workspace(&id, Permission::QueueRun).await?;
    let wanted: NewConfiguration = jsonapi::attributes(&input.attributes)?;
    let app = &context.app;
    let version = ConfigurationVersion {
        id: app.new_id(),
        created_at: app.now(),
        workspace_id: workspace.id.clone(),
        status: UploadStatus::Pending,
        auto_queue_runs: wanted.auto_queue_runs,
        speculative: wanted.speculative,
        provisional: wanted.provisional,
        branch: wanted.branch,
        source: "tfe-api".to_owned(),
        archive: None,
        error: None,
        uploaded_at: None,
    };
    app.store.commit(Batch::new().insert(&version)).await?;
    let path = app.signer.path(Purpose::ConfigurationUpload, version.id.as_str(), app.now());
    // Only this answer has the address; go-tfe's tests want it gone from later ones.
    Ok(respond::created(&render(&version).attribute("upload-url", context.url(&path))))
}

async fn show(context: Context, Path(id): Path<String>) -> Reply {
    let (version, _) = visible(&context, &id).await?;
    Ok(respond::shown(&render(&version)))
}

async fn download(context: Context, Path(id): Path<String>) -> Reply {
    let (version, _) = visible(&context, &id).await?;
    let blob: Versioned<Blob> = context.any(version.archive.as_ref().ok_or(ApiError::NotFound)?.as_str()).await?;
    let content = context.app.blobs.read(&blob, None).await?;
    Ok(Body::from_stream(content).into_response())
}

/// Receives the archive. It is checked as a whole before it counts; a wrong one leaves the version `errored` with the
/// reason, a broken-off one leaves it as it was, so that it can be sent again.
async fn receive(State(app): State<App>, Path(permit): Path<Permit>, body: Body) -> Reply {
    app.signer.check(Purpose::ConfigurationUpload, &permit, app.now())?;
    let version = app.store.find::<ConfigurationVersion>(&permit.id).await?.ok_or(ApiError::NotFound)?;
    if version.status != UploadStatus::Pending {
        return Err(ApiError::Refused(tfe_core::error::Refused::because(
            "this configuration was uploaded already; make a new configuration version",
        )));
    }
    let limit = app.settings.max_configuration_bytes;
    let blob = app.blobs.put(app.new_id(), app.now(), upload(body, app.settings.max_upload_silence), limit).await?;
    let next = match check(&app, &blob).await {
        Ok(()) => uploaded(&version, &blob, &app),
        Err(reason) => ConfigurationVersion { status: UploadStatus::Errored, error: Some(reason), ..version.record.clone() },
    };
    let batch = Batch::new().update(&version, &next);
    let batch = if next.archive.is_some() { batch.insert(&blob) } else { batch };
    app.store.commit(batch).await?;
    if let Some(reason) = &next.error {
        app.blobs.delete(&blob.id).await?;
        return Err(tfe_core::error::Invalid::at("", reason.clone()).into());
    }
    begin_run(&app, &next).await?;
    Ok(axum::http::StatusCode::OK.into_response())
}

fn uploaded(version: &ConfigurationVersion, blob: &Blob, app: &App) -> ConfigurationVersion {
    ConfigurationVersion { status: UploadStatus::Uploaded, archive: Some(blob.id.clone()), uploaded_at: Some(app.now()), ..version.clone() }
}

async fn check(app: &App, blob: &Blob) -> Result<(), String> {
    let content = app.blobs.read(blob, None).await.map_err(|error| error.to_string())?;
    let reader = tokio_util::io::SyncIoBridge::new(tokio_util::io::StreamReader::new(content.boxed()));
    let checked = tokio::task::spawn_blocking(move || archive::check(reader)).await.map_err(|error| error.to_string())?;
    checked.map(drop).map_err(|error| format!("the configuration archive was refused: {error}"))
}

async fn begin_run(app: &App, version: &ConfigurationVersion) -> Result<(), ApiError> {
    if !version.auto_queue_runs {
        return Ok(());
    }
    let workspace = app.store.find::<Workspace>(version.workspace_id.as_str()).await?.ok_or(ApiError::NotFound)?;
    let options = tfe_core::run::RunOptions {
        plan_only: version.speculative,
        auto_apply: workspace.settings.auto_apply,
        terraform_version: workspace.settings.terraform_version.clone(),
        ..Default::default()
    };
    let new = runs::NewRun {
        configuration: version.id.clone(),
        options,
        variables: Vec::new(),
        message: "Queued when the configuration was uploaded".to_owned(),
        source: "tfe-configuration-version".to_owned(),
        created_by: None,
    };
    runs::create(app, &workspace.id, new).await.map(drop)
}

/// The configuration version and its workspace, if the caller may see them.
pub(crate) async fn visible(context: &Context, id: &str) -> Result<(Versioned<ConfigurationVersion>, Versioned<Workspace>), ApiError> {
    let version: Versioned<ConfigurationVersion> = context.any(id).await?;
    let workspace = context.workspace(version.workspace_id.as_str(), Permission::ReadWorkspace).await?;
    Ok((version, workspace))
}

/// The newest uploaded configuration of a workspace that is not only for plans.
pub(crate) async fn newest(app: &App, workspace: &Id<Workspace>) -> Result<Option<Versioned<ConfigurationVersion>>, ApiError> {
    let query = Query::of::<ConfigurationVersion>().equals("workspace_id", workspace).sort(Sort::Created, Direction::Descending);
    let list = app.store.list::<ConfigurationVersion>(query).await?.items;
    Ok(list.into_iter().find(|version| version.status == UploadStatus::Uploaded && !version.speculative && !version.provisional))
}

pub(crate) fn render(version: &ConfigurationVersion) -> Resource {
    let uploaded_at = version.uploaded_at.map(|time| time.to_string());
    let attributes = Attributes {
        auto_queue_runs: version.auto_queue_runs,
        error: version.error.as_ref().map(|_| "archive-refused"),
        error_message: version.error.as_deref(),
        provisional: version.provisional,
        source: &version.source,
        speculative: version.speculative,
        status: version.status,
        status_timestamps: uploaded_at.map_or_else(|| serde_json::json!({}), |time| serde_json::json!({ "finished-at": time })),
        changed_files: [],
        upload_url: None,
    };
    Resource::new("configuration-versions", &version.id)
        .attributes(&attributes)
        .maybe("ingress-attributes", None)
        .link("self", format!("/api/v2/configuration-versions/{}", version.id))
        .link("download", format!("/api/v2/configuration-versions/{}/download", version.id))
}
