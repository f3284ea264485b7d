//! From the front page to a run: organizations, workspaces, runs.

use askama::Template;
use axum::{extract::Path, response::IntoResponse};
use tfe_core::{
    access::{Permission, Scope},
    organization::Organization,
    run::Run,
    workspace::Workspace,
};
use tfe_storage::{Direction, Query, Sort, StoreExt, Versioned};

use super::{page, visitor::Visitor};
use crate::{error::Reply, http::routes::Routes};

/// How many items a page shows; the full web interface will have pages.
const MAX_SHOWN: u64 = 200;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/", front)
        .get("/app", organizations)
        .get("/app/{organization}", workspaces)
        .get("/app/{organization}/{workspace}", runs)
        .get("/app/{organization}/workspaces/{workspace}", runs)
        .get("/app/{organization}/{workspace}/runs", runs)
}

#[derive(Template)]
#[template(path = "organizations.html")]
struct Organizations {
    username: String,
    names: Vec<String>,
}

#[derive(Template)]
#[template(path = "workspaces.html")]
struct Workspaces {
    username: String,
    organization: String,
    workspaces: Vec<Versioned<Workspace>>,
}

#[derive(Template)]
#[template(path = "runs.html")]
struct Runs {
    username: String,
    organization: String,
    workspace: Versioned<Workspace>,
    runs: Vec<Versioned<Run>>,
}

async fn front() -> Reply {
    Ok(page::see("/app").into_response())
}

async fn organizations(visitor: Visitor) -> Reply {
    let query = Query::of::<Organization>().limit(MAX_SHOWN);
    let mut names = Vec::new();
    for organization in visitor.context.app.store.list::<Organization>(query).await?.items {
        if visitor.context.sees_organization(&organization.id).await? {
            names.push(organization.settings.name.clone());
        }
    }
    names.sort();
    page::page(&Organizations { username: visitor.user.username.clone(), names })
}

async fn workspaces(visitor: Visitor, Path(name): Path<String>) -> Reply {
    let context = &visitor.context;
    let organization = context.organization(&name, Permission::ReadOrganization).await?;
    let scope = Scope { organization: &organization.id, workspace: None };
    let workspaces = if context.may(Permission::ReadWorkspace, scope).await? {
        let query = Query::of::<Workspace>().equals("organization_id", &organization.id);
        context.app.store.list::<Workspace>(query.sort(Sort::Field("name"), Direction::Ascending).limit(MAX_SHOWN)).await?.items
    } else {
        Vec::new()
    };
    page::page(&Workspaces { username: visitor.user.username.clone(), organization: name, workspaces })
}

async fn runs(visitor: Visitor, Path((organization, name)): Path<(String, String)>) -> Reply {
    let context = &visitor.context;
    let (_, workspace) = context.named_workspace(&organization, &name, Permission::ReadWorkspace).await?;
    let query = Query::of::<Run>().equals("workspace_id", &workspace.id).sort(Sort::Created, Direction::Descending);
    let runs = context.app.store.list::<Run>(query.limit(MAX_SHOWN)).await?.items;
    page::page(&Runs { username: visitor.user.username.clone(), organization, workspace, runs })
}
