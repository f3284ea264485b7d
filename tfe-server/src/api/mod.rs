//! The API, one file per resource. Each has the same parts in the same order: routes, attributes, handlers, rendering.

mod account;
mod agent_pools;
mod applies;
mod configurations;
mod discovery;
mod engine_versions;
mod health;
mod initial_admin;
mod keys;
mod nodes;
mod organizations;
mod outputs;
mod plans;
mod projects;
mod runs;
mod signed;
mod snapshots;
mod states;
mod support;
mod tags;
mod tokens;
mod variables;
mod workers;
mod workspace_lock;
mod workspace_rendering;
mod workspaces;

pub(crate) use self::discovery::version_headers;
use crate::http::routes::Routes;

/// All routes of the API.
pub(crate) fn routes() -> Routes {
    Routes::new()
        .and(discovery::routes())
        .and(health::routes())
        .and(initial_admin::routes())
        .and(keys::routes())
        .and(engine_versions::routes())
        .and(nodes::routes())
        .and(snapshots::routes())
        .and(support::routes())
        .and(agent_pools::routes())
        .and(workers::routes())
        .and(account::routes())
        .and(tokens::routes())
        .and(organizations::routes())
        .and(projects::routes())
        .and(workspaces::routes())
        .and(workspace_lock::routes())
        .and(tags::routes())
        .and(variables::routes())
        .and(configurations::routes())
        .and(runs::routes())
        .and(plans::routes())
        .and(applies::routes())
        .and(states::routes())
        .and(outputs::routes())
        .and(signed::routes())
}
