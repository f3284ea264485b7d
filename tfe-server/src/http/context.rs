//! Who calls, and the lookups that return only what the caller may see.
//!
//! A lookup takes the permission that the handler needs and answers "not found" when it is missing, so that a handler
//! cannot forget the check and nobody learns what exists.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use tfe_core::{
    access::{self, Permission, Scope, Subject},
    id::Id,
    organization::{Membership, Organization, Role},
    record::Record,
    run::Run,
    user::User,
    workspace::{LockHolder, Workspace},
};
use tfe_storage::{Query, StoreExt, Versioned};

use crate::{app::App, error::ApiError, service::tokens};

/// An authenticated request.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) app: App,
    pub(crate) subject: Subject,
    /// The path that was asked for.
    pub(crate) path: String,
    /// Where the client reaches this server, without a slash at the end.
    base: String,
    /// Whether the caller is the CLI's `cloud` integration, which renders structured logs.
    pub(crate) is_cloud_integration: bool,
}

impl Context {
    /// For a caller who is known already.
    pub(crate) fn new(app: App, subject: Subject, headers: &HeaderMap, path: &str) -> Self {
        let base = base_url(&app, headers);
        let is_cloud_integration = headers.get("x-terraform-integration").is_some_and(|value| value.as_bytes() == b"cloud");
        Self { app, subject, path: path.to_owned(), base, is_cloud_integration }
    }

    /// An absolute URL on this server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The calling person, if it is one.
    pub(crate) fn user_id(&self) -> Option<Id<User>> {
        match &self.subject {
            Subject::User { id, .. } => Some(id.clone()),
            _ => None,
        }
    }

    /// The caller as one who can hold a lock.
    pub(crate) fn lock_holder(&self) -> Result<LockHolder, ApiError> {
        match &self.subject {
            Subject::User { id, .. } => Ok(LockHolder::User(id.clone())),
            Subject::Organization(id) => Ok(LockHolder::Organization(id.clone())),
            Subject::Run { .. } => Err(ApiError::NotFound),
        }
    }

    /// "Not found" unless the caller may do everything everywhere.
    pub(crate) fn require_site_admin(&self) -> Result<(), ApiError> {
        match self.subject {
            Subject::User { site_admin: true, .. } => Ok(()),
            _ => Err(ApiError::NotFound),
        }
    }

    /// Whether the caller may do it.
    pub(crate) async fn may(&self, permission: Permission, scope: Scope<'_>) -> Result<bool, ApiError> {
        Ok(access::allows(&self.subject, self.role(scope.organization).await?, permission, scope))
    }

    /// Whether the caller may see the organization.
    pub(crate) async fn sees_organization(&self, organization: &Id<Organization>) -> Result<bool, ApiError> {
        self.may(Permission::ReadOrganization, Scope { organization, workspace: None }).await
    }

    /// The organization of that name.
    pub(crate) async fn organization(&self, name: &str, permission: Permission) -> Result<Versioned<Organization>, ApiError> {
        let organization = self.app.store.find_by::<Organization>("name", name).await?.ok_or(ApiError::NotFound)?;
        self.require(permission, Scope { organization: &organization.id, workspace: None }).await?;
        Ok(organization)
    }

    /// The workspace of that id.
    pub(crate) async fn workspace(&self, id: &str, permission: Permission) -> Result<Versioned<Workspace>, ApiError> {
        let workspace: Versioned<Workspace> = self.any(id).await?;
        self.require_workspace(&workspace, permission).await?;
        Ok(workspace)
    }

    /// The workspace of that name.
    pub(crate) async fn named_workspace(
        &self,
        organization: &str,
        name: &str,
        permission: Permission,
    ) -> Result<(Versioned<Organization>, Versioned<Workspace>), ApiError> {
        let organization = self.organization(organization, Permission::ReadOrganization).await?;
        let query = Query::of::<Workspace>().equals("organization_id", &organization.id).equals("name", name).limit(1);
        let workspace = self.app.store.list::<Workspace>(query).await?.items.pop().ok_or(ApiError::NotFound)?;
        self.require_workspace(&workspace, permission).await?;
        Ok((organization, workspace))
    }

    /// The run of that id and its workspace.
    pub(crate) async fn run(&self, id: &str, permission: Permission) -> Result<(Versioned<Run>, Versioned<Workspace>), ApiError> {
        let run: Versioned<Run> = self.any(id).await?;
        let workspace = self.workspace(run.workspace_id.as_str(), permission).await?;
        Ok((run, workspace))
    }

    /// The organization of a workspace that the caller may see.
    pub(crate) async fn organization_of(&self, workspace: &Workspace) -> Result<Versioned<Organization>, ApiError> {
        self.any(workspace.organization_id.as_str()).await
    }

    /// A record without any check; the caller of this must check what it belongs to.
    pub(crate) async fn any<T: Record>(&self, id: &str) -> Result<Versioned<T>, ApiError> {
        self.app.store.find::<T>(id).await?.ok_or(ApiError::NotFound)
    }

    /// "Not found" unless the caller may do it.
    pub(crate) async fn require(&self, permission: Permission, scope: Scope<'_>) -> Result<(), ApiError> {
        if self.may(permission, scope).await? { Ok(()) } else { Err(ApiError::NotFound) }
    }

    /// "Not found" unless the caller may do it in this workspace.
    pub(crate) async fn require_workspace(&self, workspace: &Workspace, permission: Permission) -> Result<(), ApiError> {
        self.require(permission, Scope { organization: &workspace.organization_id, workspace: Some(&workspace.id) }).await
    }

    async fn role(&self, organization: &Id<Organization>) -> Result<Option<Role>, ApiError> {
        let Subject::User { id, site_admin: false } = &self.subject else { return Ok(None) };
        let query = Query::of::<Membership>().equals("organization_id", organization).equals("user_id", id).limit(1);
        let membership = self.app.store.list::<Membership>(query).await?.items.pop();
        Ok(membership.map(|membership| membership.role))
    }
}

impl FromRequestParts<App> for Context {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, token) = header.split_once(' ').ok_or(ApiError::Unauthorized)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(ApiError::Unauthorized);
        }
        let subject = tokens::authenticate(app, token.trim()).await?.ok_or(ApiError::Unauthorized)?;
        Ok(Self::new(app.clone(), subject, &parts.headers, parts.uri.path()))
    }
}

/// Where the client reaches this server: as configured, or as the client says.
pub(crate) fn base_url(app: &App, headers: &HeaderMap) -> String {
    if let Some(url) = &app.settings.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let scheme = if app.settings.tls { "https" } else { "http" };
    format!("{scheme}://{host}")
}
