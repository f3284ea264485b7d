//! Versions of the engines, for site administrators (Terraform Enterprise API, admin terraform-versions; go-tfe's
//! `AdminTerraformVersions`). OpenTofu's are the same under a name of their own.

use axum::extract::Path;
use serde::Deserialize;
use serde_json::json;
use tfe_core::{
    engine_version::{EngineVersion, EngineVersionSettings, MAX_VERSIONS},
    error::Invalid,
    jsonapi::{self, Resource},
    workspace::Engine,
};
use tfe_storage::{Batch, Error, Versioned};

use crate::{
    error::{ApiError, Reply},
    http::{body::Input, context::Context, parameters::Parameters, respond, routes::Routes},
    service::versions,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/admin/terraform-versions", list::<Terraform>)
        .post("/api/v2/admin/terraform-versions", create::<Terraform>)
        .get("/api/v2/admin/terraform-versions/{id}", show::<Terraform>)
        .patch("/api/v2/admin/terraform-versions/{id}", update::<Terraform>)
        .delete("/api/v2/admin/terraform-versions/{id}", delete::<Terraform>)
        .get("/api/v2/admin/opentofu-versions", list::<OpenTofu>)
        .post("/api/v2/admin/opentofu-versions", create::<OpenTofu>)
        .get("/api/v2/admin/opentofu-versions/{id}", show::<OpenTofu>)
        .patch("/api/v2/admin/opentofu-versions/{id}", update::<OpenTofu>)
        .delete("/api/v2/admin/opentofu-versions/{id}", delete::<OpenTofu>)
}

/// Which engine a set of routes is about.
trait Family: Send + 'static {
    const ENGINE: Engine;
    const KIND: &'static str;
}

struct Terraform;
struct OpenTofu;

impl Family for Terraform {
    const ENGINE: Engine = Engine::Terraform;
    const KIND: &'static str = "terraform-versions";
}

impl Family for OpenTofu {
    const ENGINE: Engine = Engine::Tofu;
    const KIND: &'static str = "opentofu-versions";
}

/// The build for linux on amd64, as clients name it that know no others.
#[derive(Deserialize)]
struct DefaultBuild {
    url: Option<String>,
    sha: Option<String>,
}

async fn list<F: Family>(context: Context, parameters: Parameters) -> Reply {
    context.require_site_admin()?;
    let mut found = versions::registered(&context.app, F::ENGINE).await?;
    if let Some(version) = parameters.get("filter[version]") {
        found.retain(|known| known.settings.version == version);
    }
    if let Some(part) = parameters.get("search[version]") {
        found.retain(|known| known.settings.version.contains(part));
    }
    let (page, total) = (parameters.page(), found.len() as u64);
    let (offset, size) = (usize::try_from(page.offset()).unwrap_or(usize::MAX), usize::try_from(page.size).unwrap_or(usize::MAX));
    let mut resources = Vec::new();
    for version in found.iter().skip(offset).take(size) {
        resources.push(render::<F>(&context, version).await?);
    }
    Ok(respond::page(&context, &parameters, &resources, total))
}

async fn create<F: Family>(context: Context, Input(input): Input) -> Reply {
    context.require_site_admin()?;
    let app = &context.app;
    let settings = settings(None, &input)?;
    if versions::registered(app, F::ENGINE).await?.len() as u64 >= MAX_VERSIONS {
        return Err(Invalid::at("", format!("There are {MAX_VERSIONS} versions already; delete some that are not used")).into());
    }
    let version = EngineVersion { id: app.new_id(), created_at: app.now(), engine: F::ENGINE, settings };
    app.store.commit(Batch::new().insert(&version)).await.map_err(taken)?;
    tracing::info!(version = version.settings.version, kind = F::KIND, "a version was registered");
    Ok(respond::created(&render::<F>(&context, &version).await?))
}

async fn show<F: Family>(context: Context, Path(id): Path<String>) -> Reply {
    let version = find::<F>(&context, &id).await?;
    Ok(respond::shown(&render::<F>(&context, &version).await?))
}

async fn update<F: Family>(context: Context, Path(id): Path<String>, Input(input): Input) -> Reply {
    let version = find::<F>(&context, &id).await?;
    let next = EngineVersion { settings: settings(Some(&version.settings), &input)?, ..version.record.clone() };
    if next.settings.version != version.settings.version {
        require_unused(&context, &version, "renamed").await?;
    }
    context.app.store.commit(Batch::new().update(&version, &next)).await.map_err(taken)?;
    tracing::info!(version = next.settings.version, kind = F::KIND, enabled = next.settings.enabled, "a version was changed");
    Ok(respond::shown(&render::<F>(&context, &next).await?))
}

/// Versions that are official or that workspaces name stay, as in Terraform Enterprise.
async fn delete<F: Family>(context: Context, Path(id): Path<String>) -> Reply {
    let version = find::<F>(&context, &id).await?;
    if version.settings.official {
        return Err(Invalid::at("", "Official versions cannot be deleted; disable it, or set official to false first").into());
    }
    require_unused(&context, &version, "deleted").await?;
    context.app.store.commit(Batch::new().delete(&version)).await?;
    tracing::info!(version = version.settings.version, kind = F::KIND, "a version was deleted");
    Ok(respond::done())
}

fn settings(present: Option<&EngineVersionSettings>, input: &jsonapi::Input) -> Result<EngineVersionSettings, Invalid> {
    let DefaultBuild { url, sha } = jsonapi::attributes(&input.attributes)?;
    jsonapi::patched::<EngineVersionSettings>(present, &input.attributes)?.with_default_build(url, sha).checked()
}

async fn find<F: Family>(context: &Context, id: &str) -> Result<Versioned<EngineVersion>, ApiError> {
    context.require_site_admin()?;
    let version: Versioned<EngineVersion> = context.any(id).await?;
    if version.engine == F::ENGINE { Ok(version) } else { Err(ApiError::NotFound) }
}

async fn require_unused(context: &Context, version: &EngineVersion, what: &str) -> Result<(), ApiError> {
    match versions::usage(&context.app, version).await? {
        0 => Ok(()),
        usage => {
            let used = format!("Version {} is used by {usage} workspaces and cannot be {what}", version.settings.version);
            Err(Invalid::at("", used + "; disable it, or change their terraform version first").into())
        }
    }
}

fn taken(error: Error) -> ApiError {
    match error {
        Error::AlreadyExists { .. } => Invalid::attribute("version", "Version has already been taken").into(),
        error => error.into(),
    }
}

async fn render<F: Family>(context: &Context, version: &EngineVersion) -> Result<Resource, ApiError> {
    let default = version.settings.default_build();
    let more = json!({
        "url": default.map(|build| &build.url),
        "sha": default.map(|build| &build.sha),
        "usage": versions::usage(&context.app, version).await?,
        "created-at": version.created_at.to_string(),
    });
    Ok(Resource::new(F::KIND, &version.id)
        .attributes(&version.settings)
        .attributes(&more)
        .link("self", format!("/api/v2/admin/{}/{}", F::KIND, version.id)))
}
