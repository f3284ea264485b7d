//! Bearer tokens: made once, kept as digests, found by digest.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tfe_core::{
    access::Subject,
    agent::FLEET,
    id::random_text,
    job::Job,
    secret::Secret,
    time::Timestamp,
    user::{Token, TokenOwner, User},
    workspace::Workspace,
};
use tfe_storage::{Batch, StoreExt, Versioned};

use crate::{app::App, error::ApiError};

/// Random characters in a token: 62 of 58 kinds carry 363 bits.
const TOKEN_LENGTH: usize = 62;
/// How exactly the last use is known, in milliseconds: an hour, so that using a token is not a write.
const USE_GRAIN_MILLIS: u64 = 60 * 60 * 1000;
/// How long a token without a wish is good, in seconds: two years, as go-tfe's tests expect.
const LIFETIME_SECONDS: i64 = 2 * 365 * 24 * 60 * 60;

/// A new token and its record, not stored yet. The text is shown once.
pub(crate) fn issue(app: &App, owner: TokenOwner, description: &str, expires_at: Option<Timestamp>) -> (Token, Secret) {
    let secret = new_secret(app);
    let owner_id = match &owner {
        TokenOwner::User(id) => id.to_string(),
        TokenOwner::Organization(id) => id.to_string(),
        TokenOwner::AgentPool(id) => id.to_string(),
    };
    let token = Token {
        id: app.new_id(),
        created_at: app.now(),
        digest: digest(secret.expose()),
        owner,
        owner_id,
        description: description.to_owned(),
        last_used_at: None,
        expires_at: Some(expires_at.unwrap_or_else(|| app.now().plus_seconds(LIFETIME_SECONDS))),
    };
    (token, secret)
}

/// A new text that is as good as a key. The middle part is what secret scanners know Terraform's tokens by.
pub(crate) fn new_secret(app: &App) -> Secret {
    let (head, tail) = (random_text(app.entropy.as_ref(), 14), random_text(app.entropy.as_ref(), TOKEN_LENGTH));
    Secret::from(format!("{head}.atlasv1.{tail}"))
}

/// What is stored of a secret that is presented later. Finding it by digest is a comparison that takes the same time
/// whatever the secret is.
pub(crate) fn digest(secret: &str) -> String {
    Sha256::digest(secret.as_bytes()).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Whose token it is, if it is good.
pub(crate) async fn authenticate(app: &App, secret: &str) -> Result<Option<Subject>, ApiError> {
    let digest = digest(secret);
    let Some(token) = app.store.find_by::<Token>("digest", &digest).await? else {
        return run_subject(app, &digest).await;
    };
    if token.expires_at.is_some_and(|end| end <= app.now()) {
        return Ok(None);
    }
    let subject = match &token.owner {
        TokenOwner::User(id) => {
            let user = app.store.find::<User>(id.as_str()).await?;
            user.map(|user| Subject::User { id: user.id.clone(), site_admin: user.site_admin })
        }
        TokenOwner::Organization(id) => Some(Subject::Organization(id.clone())),
        // An agent's token opens the door for agents only.
        TokenOwner::AgentPool(_) => None,
    };
    note_use(app, &token).await;
    Ok(subject)
}

/// Whose jobs the bearer of a worker's token may take: the installation's, or those of an agent pool.
pub(crate) async fn authenticate_worker(app: &App, secret: &str) -> Result<Option<String>, ApiError> {
    let digest = digest(secret);
    if let Some(fleet) = &app.settings.worker_token
        && bool::from(self::digest(fleet.expose()).as_bytes().ct_eq(digest.as_bytes()))
    {
        return Ok(Some(FLEET.to_owned()));
    }
    let Some(token) = app.store.find_by::<Token>("digest", &digest).await? else { return Ok(None) };
    let is_expired = token.expires_at.is_some_and(|end| end <= app.now());
    let TokenOwner::AgentPool(pool) = &token.owner else { return Ok(None) };
    note_use(app, &token).await;
    Ok((!is_expired).then(|| pool.to_string()))
}

/// The token that a runner has while it works on a job speaks for the job's run.
async fn run_subject(app: &App, digest: &str) -> Result<Option<Subject>, ApiError> {
    let Some(job) = app.store.find_by::<Job>("token_digest", digest).await? else { return Ok(None) };
    let workspace = app.store.find::<Workspace>(job.workspace_id.as_str()).await?;
    Ok(workspace.map(|workspace| Subject::Run { workspace: workspace.id.clone(), organization: workspace.organization_id.clone() }))
}

async fn note_use(app: &App, token: &Versioned<Token>) {
    let now = app.now();
    if token.last_used_at.is_some_and(|last| now.millis_since(last) < USE_GRAIN_MILLIS) {
        return;
    }
    let used = Token { last_used_at: Some(now), ..token.record.clone() };
    // When another request was faster, it wrote the same.
    if let Err(error) = app.store.commit(Batch::new().update(token, &used)).await {
        tracing::debug!(%error, "the use of a token was not noted");
    }
}
