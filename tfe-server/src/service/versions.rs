//! The registered versions of the engines, and what they mean for runs.

use tfe_core::{
    engine_version::{self, EngineVersion, MAX_VERSIONS},
    workspace::{Engine, Workspace},
};
use tfe_storage::{Query, StoreExt, Versioned};

use crate::{app::App, error::ApiError};

/// All registered versions of an engine, newest first.
pub(crate) async fn registered(app: &App, engine: Engine) -> Result<Vec<Versioned<EngineVersion>>, ApiError> {
    let query = Query::of::<EngineVersion>().equals("engine", name(engine)).limit(MAX_VERSIONS);
    let mut versions = app.store.list::<EngineVersion>(query).await?.items;
    versions.sort_by_cached_key(|version| std::cmp::Reverse(version.number()));
    Ok(versions)
}

/// The version for a run: an exact one as soon as any is registered for the engine, before that what is wanted, which
/// the runner then looks for among its own.
pub(crate) async fn resolve(app: &App, engine: Engine, wanted: &str) -> Result<String, ApiError> {
    let registered: Vec<_> = registered(app, engine).await?.into_iter().map(Versioned::into_record).collect();
    let found = engine_version::resolve(&registered, engine, wanted)?;
    Ok(found.map_or_else(|| wanted.to_owned(), |version| version.settings.version.clone()))
}

/// The registered version of this exact name.
pub(crate) async fn named(app: &App, engine: Engine, version: &str) -> Result<Option<Versioned<EngineVersion>>, ApiError> {
    let query = Query::of::<EngineVersion>().equals("engine", name(engine)).equals("name", version).limit(1);
    Ok(app.store.list::<EngineVersion>(query).await?.items.pop())
}

/// How many workspaces name the version. Those with a constraint that it fits are not counted: they go on without it.
pub(crate) async fn usage(app: &App, version: &EngineVersion) -> Result<u64, ApiError> {
    let query = Query::of::<Workspace>().equals("terraform_version", &version.settings.version).equals("engine", name(version.engine));
    Ok(app.store.list::<Workspace>(query.limit(1).counted()).await?.total)
}

/// An engine as records have it.
const fn name(engine: Engine) -> &'static str {
    match engine {
        Engine::Terraform => "terraform",
        Engine::Tofu => "tofu",
    }
}
