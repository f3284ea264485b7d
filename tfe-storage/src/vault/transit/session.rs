//! The login and what keeps it alive.
//!
//! A token is renewed long before it ends. If that fails, or the service has forgotten the token, the next call that is
//! refused logs in again, once for all callers, and is repeated.

use std::{
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use futures::future::BoxFuture;
use tfe_core::secret::Secret;
use tokio::{sync::Mutex, time::Instant};
use vaultrs::{
    client::{VaultClient, VaultClientSettingsBuilder},
    error::ClientError,
};

use super::{
    TransitLogin, TransitSettings,
    diagnose::Capabilities,
    failure::{Call, status, unavailable},
};
use crate::VaultError;

/// How long no refused call logs in again after a login that did not help: the policy forbids it, and each login costs
/// the service a token.
const LOGIN_PAUSE: Duration = Duration::from_secs(2);
/// The pause after a renewal that failed.
const RENEWAL_PAUSE: Duration = Duration::from_secs(5);
/// The shortest time between two renewals, whatever the lease.
const MIN_RENEWAL: Duration = Duration::from_secs(1);

/// A login that is kept alive as long as the value lives.
pub(super) struct Session {
    settings: TransitSettings,
    client: RwLock<Arc<VaultClient>>,
    /// When the last login was; held while there is one.
    login: Mutex<Option<Instant>>,
    /// When a login last did not help a refused call.
    futile: RwLock<Option<Instant>>,
}

impl Session {
    /// Logs in.
    pub(super) async fn begin(settings: TransitSettings) -> Result<Arc<Self>, VaultError> {
        let token = match &settings.login {
            TransitLogin::Token(token) => token.clone(),
            TransitLogin::AppRole { .. } => Secret::default(),
        };
        let client = client(&settings, &token)?;
        let session =
            Arc::new(Self { settings, client: RwLock::new(Arc::new(client)), login: Mutex::new(None), futile: RwLock::new(None) });
        let lease = session.log_in(None).await?;
        tokio::spawn(renew(Arc::downgrade(&session), lease));
        Ok(session)
    }

    /// Makes a call, and once more after a new login if the token is not taken any more.
    pub(super) async fn call<T>(
        &self,
        call: &Call,
        make: impl Fn(Arc<VaultClient>) -> BoxFuture<'static, Result<T, ClientError>> + Send + Sync,
    ) -> Result<T, VaultError> {
        let begun = Instant::now();
        let error = match make(self.client()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let can_log_in = matches!(self.settings.login, TransitLogin::AppRole { .. });
        let futile = *self.futile.read().unwrap_or_else(PoisonError::into_inner);
        if status(&error) != Some(403) || !can_log_in || futile.is_some_and(|when| when.elapsed() < LOGIN_PAUSE) {
            return Err(call.explain(&error));
        }
        self.log_in(Some(begun)).await?;
        let again = make(self.client()).await;
        if again.as_ref().is_err_and(|error| status(error) == Some(403)) {
            *self.futile.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        again.map_err(|error| call.explain(&error))
    }

    /// What the policy allows the token at a path. The client has no call for it.
    pub(super) async fn capabilities(&self, path: &str) -> Result<Vec<String>, VaultError> {
        let client = self.client();
        let url = format!("{}/v1/sys/capabilities-self", self.settings.address.trim_end_matches('/'));
        let mut request = client.http.http.post(url).header("X-Vault-Token", client.settings.token.as_str());
        if let Some(namespace) = &self.settings.namespace {
            request = request.header("X-Vault-Namespace", namespace.as_str());
        }
        let answer = request.json(&serde_json::json!({ "paths": [path] })).send().await;
        let answer = answer.map_err(|_| unavailable("it does not answer".to_owned()))?;
        let answer: Capabilities = answer.json().await.map_err(|_| VaultError::LoginRefused)?;
        Ok(answer.capabilities)
    }

    fn client(&self) -> Arc<VaultClient> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Logs in unless somebody else did since `refused`; gives how long the token is good.
    async fn log_in(&self, refused: Option<Instant>) -> Result<Duration, VaultError> {
        let TransitLogin::AppRole { mount, role_id, secret_id } = &self.settings.login else { return Ok(Duration::ZERO) };
        let mut last = self.login.lock().await;
        if let (Some(last), Some(refused)) = (*last, refused)
            && last >= refused
        {
            return Ok(Duration::ZERO);
        }
        let mount = mount.trim_matches('/').trim_start_matches("auth/");
        // Without the old token: a service may refuse a login that comes with one that has ended.
        let bare = client(&self.settings, &Secret::default())?;
        let answer = vaultrs::auth::approle::login(&bare, mount, role_id, secret_id.expose()).await;
        let answer = answer.map_err(|error| match status(&error) {
            Some(400 | 401 | 403 | 404) => VaultError::LoginRefused,
            Some(code) => unavailable(format!("the login is answered with status {code}")),
            None => unavailable("it does not answer".to_owned()),
        })?;
        let next = client(&self.settings, &Secret::from(answer.client_token))?;
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        *last = Some(Instant::now());
        Ok(Duration::from_secs(answer.lease_duration))
    }

    /// Renews the token; gives how long it is good then.
    async fn renew(&self) -> Result<Duration, VaultError> {
        let begun = Instant::now();
        match vaultrs::token::renew_self(&*self.client(), None).await {
            Ok(answer) => Ok(Duration::from_secs(answer.lease_duration)),
            Err(error) if matches!(status(&error), Some(400 | 403)) => self.log_in(Some(begun)).await,
            Err(_) => Err(unavailable("it does not answer".to_owned())),
        }
    }
}

/// Renews the token at half of its life until the session is dropped.
async fn renew(session: Weak<Session>, mut lease: Duration) {
    loop {
        let Some(wait) = session.upgrade().map(|session| session.settings.renew_every) else { return };
        // A token without a lease, such as a root token, needs no renewal; it is asked about all the same.
        let wait = if lease.is_zero() { wait } else { wait.min(lease / 2) };
        tokio::time::sleep(wait.max(MIN_RENEWAL)).await;
        let Some(session) = session.upgrade() else { return };
        match session.renew().await {
            Ok(renewed) => lease = renewed,
            Err(error) => {
                tracing::debug!(%error, "the vault's token was not renewed");
                lease = RENEWAL_PAUSE * 2;
            }
        }
    }
}

/// A client with that token. Everything is said, so that no variable of the environment is taken for a setting.
fn client(settings: &TransitSettings, token: &Secret) -> Result<VaultClient, VaultError> {
    let unusable = |reason: &str| VaultError::Unusable(reason.to_owned());
    let is_address = settings.address.starts_with("http://") || settings.address.starts_with("https://");
    if !is_address || url_host(&settings.address).is_empty() {
        return Err(unusable("its address is no URL"));
    }
    let authority = settings.authority.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
    let mut builder = VaultClientSettingsBuilder::default();
    builder.address(&settings.address).token(token.expose()).timeout(Some(settings.timeout));
    builder.ca_certs(authority).identity(None).verify(true).namespace(settings.namespace.clone());
    let built = builder.build().map_err(|_| unusable("its settings do not fit together"))?;
    VaultClient::new(built).map_err(|_| unusable("the authority's file cannot be read or is no certificate"))
}

fn url_host(address: &str) -> &str {
    address.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default())
}
