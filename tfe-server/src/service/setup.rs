//! The first records: the installation itself, and the first administrator.

use tfe_core::{
    error::Invalid,
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
        let installation = Installation { id: id.clone(), created_at: clock.now(), name, signing_key, unfinished: false };
        match store.commit(Batch::new().insert(&installation)).await {
            // Another node was faster; its record counts.
            Ok(()) | Err(Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let installation = store.find::<Installation>(id.as_str()).await?.ok_or(ApiError::NotFound)?.into_record();
    let key = vault.open(&Installation::SIGNING_KEY.context(&id), &installation.signing_key).await?.to_vec();
    Ok((installation, key))
}

/// Makes the first administrator, an organization and a token, once: `None` if there is a user already.
pub async fn first_admin(app: &App, first: &FirstAdmin) -> Result<Option<Secret>, ApiError> {
    let users = app.store.list::<User>(Query::of::<User>().limit(1)).await?;
    if !users.items.is_empty() {
        return Ok(None);
    }
    let user = User {
        id: app.new_id(),
        created_at: app.now(),
        username: first.username.clone(),
        email: first.email.clone(),
        password_hash: first.password.as_ref().map(passwords::hash).transpose()?,
        site_admin: true,
    };
    let settings = OrganizationSettings { name: first.organization.clone(), email: first.email.clone(), ..defaults()? };
    let owner = TokenOwner::User(user.id.clone());
    let (token, secret) = tokens::issue(app, owner, "made at the first start", None);
    let batch = Batch::new().insert(&user).insert(&token).and(organization(app, settings, Some(&user.id))?);
    app.store.commit(batch).await?;
    Ok(Some(secret))
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
