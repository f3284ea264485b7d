//! A vault in a service: the transit engine of `HashiCorp` Vault or `OpenBao`.
//!
//! The key never leaves the service. It is a derived key, so each context has a key of its own there, and a value that
//! is opened with another context fails. Values are sealed as `transit:v<version>:<base64>`; the service says
//! `vault:v…`, which would not tell what kind of vault made them.

mod diagnose;
mod failure;
mod session;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use futures::FutureExt;
use tfe_core::secret::{Sealed, Secret};
use vaultrs::{
    api::transit::{
        KeyType,
        requests::{CreateKeyRequest, DecryptDataRequest, EncryptDataRequest, RewrapDataRequest},
        responses::ReadKeyData,
    },
    transit::{data, key},
};
use zeroize::Zeroizing;

use self::{failure::Call, session::Session};
use super::{Vault, VaultError};

pub use self::diagnose::POLICY;

/// What the service calls its values.
const THEIR_NAME: &str = "vault:";
/// What they are called here.
const OUR_NAME: &str = "transit:";
/// How long the newest version is taken as known while values are sealed anew.
const VERSION_AGE: Duration = Duration::from_secs(5);
/// How long one call may take, unless the settings say otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which service, key and login.
#[derive(Debug, Clone)]
pub struct TransitSettings {
    /// Where the service is, such as `https://vault.example.com:8200`.
    pub address: String,
    /// The namespace, where the service has them.
    pub namespace: Option<String>,
    /// Where the transit engine is mounted.
    pub mount: String,
    /// The name of the key, which is made if it is missing.
    pub key: String,
    /// How to log in.
    pub login: TransitLogin,
    /// How often the token is renewed at least.
    pub renew_every: Duration,
    /// How long one call may take.
    pub timeout: Duration,
    /// The authority that signed the service's certificate, if it is not a public one.
    pub authority: Option<PathBuf>,
}

/// How to log in.
#[derive(Debug, Clone)]
pub enum TransitLogin {
    /// With a token that somebody else made.
    Token(Secret),
    /// As a role.
    AppRole {
        /// Where `AppRole` is mounted, with or without `auth/` at the beginning.
        mount: String,
        /// The role.
        role_id: String,
        /// The role's secret.
        secret_id: Secret,
    },
}

/// A vault in a service. Clones share the session.
#[derive(Clone)]
pub struct TransitVault {
    session: Arc<Session>,
    mount: String,
    key: String,
    newest: Arc<Mutex<Option<(u32, Instant)>>>,
}

impl TransitVault {
    /// Logs in, and makes the key if it is missing.
    pub async fn connect(settings: TransitSettings) -> Result<Self, VaultError> {
        let (mount, key) = (settings.mount.clone(), settings.key.clone());
        let session = Session::begin(settings).await?;
        let vault = Self { session, mount, key, newest: Arc::default() };
        match vault.read_version().await {
            Err(VaultError::KeyGone(_)) => {
                vault.create_key().await?;
                vault.read_version().await?;
            }
            version => drop(version?),
        }
        Ok(vault)
    }

    async fn create_key(&self) -> Result<(), VaultError> {
        let (mount, name) = (self.mount.clone(), self.key.clone());
        let call = Call::new(format!("{mount}/keys/{name}"), "create");
        self.session
            .call(&call, move |client| {
                let (mount, name) = (mount.clone(), name.clone());
                async move {
                    let mut options = CreateKeyRequest::builder();
                    options.derived(true).exportable(false).key_type(KeyType::Aes256Gcm96);
                    key::create(&*client, &mount, &name, Some(&mut options)).await
                }
                .boxed()
            })
            .await
    }

    /// The newest version of the key, asked for again when what is known is old.
    async fn newest_version(&self) -> Result<u32, VaultError> {
        let known = *self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some((version, when)) if when.elapsed() < VERSION_AGE => Ok(version),
            _ => self.read_version().await,
        }
    }

    async fn read_version(&self) -> Result<u32, VaultError> {
        let (mount, name) = (self.mount.clone(), self.key.clone());
        let call = Call::new(format!("{mount}/keys/{name}"), "read");
        let found = self
            .session
            .call(&call, move |client| {
                let (mount, name) = (mount.clone(), name.clone());
                async move { key::read(&*client, &mount, &name).await }.boxed()
            })
            .await?;
        if !found.derived {
            return Err(VaultError::Unusable(format!("the key {} is not derived; name another one, which is then made rightly", self.key)));
        }
        let ReadKeyData::Symmetric(versions) = found.keys else {
            return Err(VaultError::Unusable(format!("the key {} does not encrypt; name another one", self.key)));
        };
        let newest = versions.keys().filter_map(|version| version.parse().ok()).max().unwrap_or(1);
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((newest, Instant::now()));
        Ok(newest)
    }
}

#[async_trait]
impl Vault for TransitVault {
    async fn seal(&self, context: &str, plain: &[u8]) -> Result<Sealed, VaultError> {
        let (mount, name) = (self.mount.clone(), self.key.clone());
        let (context, plain) = (BASE64.encode(context), Zeroizing::new(BASE64.encode(plain)));
        let call = Call::new(format!("{mount}/encrypt/{name}"), "update");
        let answer = self
            .session
            .call(&call, move |client| {
                let (mount, name, context, plain) = (mount.clone(), name.clone(), context.clone(), plain.clone());
                async move {
                    let mut options = EncryptDataRequest::builder();
                    options.context(context);
                    data::encrypt(&*client, &mount, &name, &plain, Some(&mut options)).await
                }
                .boxed()
            })
            .await?;
        ours(&answer.ciphertext)
    }

    async fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (mount, name) = (self.mount.clone(), self.key.clone());
        let (context, text) = (BASE64.encode(context), theirs(sealed)?);
        let call = Call::new(format!("{mount}/decrypt/{name}"), "update").with_value();
        let answer = self
            .session
            .call(&call, move |client| {
                let (mount, name, context, text) = (mount.clone(), name.clone(), context.clone(), text.clone());
                async move {
                    let mut options = DecryptDataRequest::builder();
                    options.context(context);
                    data::decrypt(&*client, &mount, &name, &text, Some(&mut options)).await
                }
                .boxed()
            })
            .await?;
        let plain = Zeroizing::new(answer.plaintext);
        BASE64.decode(plain.as_bytes()).map(Zeroizing::new).map_err(|_| VaultError::Tampered)
    }

    async fn rewrap(&self, context: &str, sealed: &Sealed) -> Result<Option<Sealed>, VaultError> {
        if version(sealed)? >= self.newest_version().await? {
            return Ok(None);
        }
        let (mount, name) = (self.mount.clone(), self.key.clone());
        let (context, text) = (BASE64.encode(context), theirs(sealed)?);
        let call = Call::new(format!("{mount}/rewrap/{name}"), "update").with_value();
        let answer = self
            .session
            .call(&call, move |client| {
                let (mount, name, context, text) = (mount.clone(), name.clone(), context.clone(), text.clone());
                async move {
                    let mut options = RewrapDataRequest::builder();
                    options.context(context);
                    data::rewrap(&*client, &mount, &name, &text, Some(&mut options)).await
                }
                .boxed()
            })
            .await?;
        ours(&answer.ciphertext).map(Some)
    }

    async fn rotate(&self) -> Result<u32, VaultError> {
        let (mount, name) = (self.mount.clone(), self.key.clone());
        let call = Call::new(format!("{mount}/keys/{name}/rotate"), "update");
        self.session
            .call(&call, move |client| {
                let (mount, name) = (mount.clone(), name.clone());
                async move { key::rotate(&*client, &mount, &name).await }.boxed()
            })
            .await?;
        self.read_version().await
    }
}

impl fmt::Debug for TransitVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransitVault").field("mount", &self.mount).field("key", &self.key).finish_non_exhaustive()
    }
}

/// The service's value under our name.
fn ours(text: &str) -> Result<Sealed, VaultError> {
    let rest =
        text.strip_prefix(THEIR_NAME).ok_or_else(|| VaultError::Unusable("its answer is not that of a transit engine".to_owned()))?;
    Ok(Sealed::new(format!("{OUR_NAME}{rest}")))
}

/// Our value under the service's name.
fn theirs(sealed: &Sealed) -> Result<String, VaultError> {
    version(sealed)?;
    let rest = sealed.as_str().strip_prefix(OUR_NAME).ok_or(VaultError::Tampered)?;
    Ok(format!("{THEIR_NAME}{rest}"))
}

/// The version of the key that sealed a value.
fn version(sealed: &Sealed) -> Result<u32, VaultError> {
    let rest = sealed.as_str().strip_prefix(OUR_NAME).and_then(|rest| rest.strip_prefix('v'));
    let (version, _) = rest.and_then(|rest| rest.split_once(':')).ok_or(VaultError::Tampered)?;
    version.parse().map_err(|_| VaultError::Tampered)
}
