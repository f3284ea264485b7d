//! The first records: the installation itself, and the first administrator.

use tfe_core::{
    error::{Invalid, Refused},
    id::{Entropy, Id},
    installation::Installation,
    jsonapi,
    organization::{DEFAULT_PROJECT, Membership, Organization, OrganizationSettings, Project, ProjectSettings, Role},
    secret::Secret,
    time::Clock,
    user::{TokenOwner, User},
};
use tfe_storage::{Batch, Error, Query, Store, StoreExt, Vault};

use super::{passwords, tokens};
use crate::{app::App, error::ApiError};

/// Length of the signing key in bytes: that of its MAC.
const SIGNING_KEY_LENGTH: usize = 32;

/// The first administrator and organization of an installation.
#[derive(Debug, Clone)]
pub struct FirstAdmin {
    /// The name to sign in with.
    pub username: String,
    /// Where notices go.
    pub email: String,
    /// The password to sign in with; none for one who only uses tokens.
    pub password: Option<Secret>,
    /// The name of the organization to make.
    pub organization: String,
}

/// The installation's record and signing key, made at the first start.
pub(crate) async fn installation(
    store: &dyn Store,
    vault: &dyn Vault,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<(Installation, Vec<u8>), ApiError> {
    let id = Installation::only_id();
    if store.find::<Installation>(id.as_str()).await?.is_none() {
        let mut key = [0_u8; SIGNING_KEY_LENGTH];
        entropy.fill(&mut key);
        let signing_key = vault.seal(&Installation::SIGNING_KEY.context(&id), &key).await?;
        let name = tfe_core::id::random_text(entropy, 8).to_lowercase();
        let installation =
            Installation { id: id.clone(), created_at: clock.now(), name, signing_key, unfinished: false, restoration: None };
        match store.commit(Batch::new().insert(&installation)).await {
            // Another node was faster; its record counts.
            Ok(()) | Err(Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let installation = store.find::<Installation>(id.as_str()).await?.ok_or(ApiError::NotFound)?.into_record();
    if installation.unfinished {
        return Err(Refused::because("this installation is not complete: it is being moved or restored to here. Let tfe migrate finish, or do tfe-server restore again").into());
    }
    let key = vault.open(&Installation::SIGNING_KEY.context(&id), &installation.signing_key).await?.to_vec();
    Ok((installation, key))
}

/// Makes the first administrator, an organization and a token, once: `None` if there is a user already.
pub async fn first_admin(app: &App, first: &FirstAdmin) -> Result<Option<Secret>, ApiError> {
    let Some((user, secret, batch)) = administrator(app, &first.username, &first.email, first.password.as_ref()).await? else {
        return Ok(None);
    };
    let settings = OrganizationSettings { name: first.organization.clone(), email: first.email.clone(), ..defaults()? };
    app.store.commit(batch.and(organization(app, settings, Some(&user))?)).await?;
    Ok(Some(secret))
}

/// Makes the first administrator and a token, once: `None` if there is a user already.
pub(crate) async fn initial_admin(app: &App, username: &str, email: &str, password: Option<&Secret>) -> Result<Option<Secret>, ApiError> {
    let Some((_, secret, batch)) = administrator(app, username, email, password).await? else { return Ok(None) };
    app.store.commit(batch).await?;
    Ok(Some(secret))
}

/// The token that allows to create the first administrator, as long as there is no user and the time is not over. All
/// nodes give the same one.
pub async fn initial_admin_token(app: &App) -> Result<Option<Secret>, ApiError> {
    let settings = &app.settings.initial_admin;
    let limit_seconds = i64::try_from(settings.time_limit.as_secs()).unwrap_or(i64::MAX);
    let is_over = app.now() > app.started_at.plus_seconds(limit_seconds);
    if is_over || has_users(app).await? {
        return Ok(None);
    }
    Ok(Some(settings.token.clone().unwrap_or_else(|| app.signer.derived("initial-admin-token"))))
}

async fn has_users(app: &App) -> Result<bool, ApiError> {
    Ok(!app.store.list::<User>(Query::of::<User>().limit(1)).await?.items.is_empty())
}

/// The first user with a token, and the writes that make them. They begin with the installation's record at the version
/// that was read, so that of two at the same time one fails.
async fn administrator(
    app: &App,
    username: &str,
    email: &str,
    password: Option<&Secret>,
) -> Result<Option<(Id<User>, Secret, Batch)>, ApiError> {
    let installation = app.store.find::<Installation>(Installation::only_id().as_str()).await?.ok_or(ApiError::NotFound)?;
    if has_users(app).await? {
        return Ok(None);
    }
    let user = User {
        id: app.new_id(),
        created_at: app.now(),
        username: username.to_owned(),
        email: email.to_owned(),
        password_hash: password.map(passwords::hash).transpose()?,
        site_admin: true,
    };
    let (token, secret) = tokens::issue(app, TokenOwner::User(user.id.clone()), "made for the first administrator", None);
    let batch = Batch::new().update(&installation, &installation.record).insert(&user).insert(&token);
    Ok(Some((user.id, secret, batch)))
}

/// Another token for a user who exists; for operators who lost theirs and can reach the data.
pub async fn service_token(app: &App, username: &str) -> Result<Secret, ApiError> {
    let user = app.store.find_by::<User>("username", username).await?.ok_or(ApiError::NotFound)?;
    let (token, secret) = tokens::issue(app, TokenOwner::User(user.id.clone()), "made by the operator", None);
    app.store.commit(Batch::new().insert(&token)).await?;
    Ok(secret)
}

/// A new organization with its first project and owner.
pub(crate) fn organization(app: &App, settings: OrganizationSettings, owner: Option<&Id<User>>) -> Result<Batch, Invalid> {
    settings.check()?;
    let created_at = app.now();
    let organization = Organization { id: app.new_id(), created_at, settings };
    let project = Project {
        id: app.new_id(),
        created_at,
        organization_id: organization.id.clone(),
        is_default: true,
        settings: ProjectSettings { name: DEFAULT_PROJECT.to_owned(), description: None },
    };
    let batch = Batch::new().insert(&organization).insert(&project);
    let Some(owner) = owner else { return Ok(batch) };
    let membership =
        Membership { id: app.new_id(), created_at, organization_id: organization.id.clone(), user_id: owner.clone(), role: Role::Owner };
    Ok(batch.insert(&membership))
}

fn defaults() -> Result<OrganizationSettings, Invalid> {
    jsonapi::attributes(&serde_json::json!({ "name": "", "email": "" }))
}
