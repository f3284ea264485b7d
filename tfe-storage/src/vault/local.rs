//! A vault of our own: a keyring, sealed under a root secret, in a file or in the store.
//!
//! Several processes may share the keyring. Each change is made on the newest document, and a process that meets a
//! value of a version it does not know reads the document again.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use tfe_core::{cipher::Key, secret::Sealed, time::Timestamp};
use zeroize::Zeroizing;

use super::{
    RootSecret, Vault, VaultError,
    keyring::{self, Keyring},
    place::{Found, Place, Written, blocking},
    root::Root,
};
use crate::{
    Store,
    fail_point::{ROTATION_MADE, ROTATION_USED, ROTATION_WRITTEN},
};

const NAME: &str = "local";
/// Raised when the document changes in a way that older programs cannot follow.
const FORMAT: u32 = 1;
/// What the keyring's own seal is for.
const CONTEXT: &str = "keyring";
/// How often a change is made anew because another process was faster; each attempt makes progress for someone.
const MAX_ATTEMPTS: u32 = 20;

/// A vault whose keys are in a keyring. Clones share the keys.
#[derive(Debug, Clone)]
pub struct LocalVault {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    root_key: Key,
    keyring: RwLock<Arc<Keyring>>,
}

/// The keyring as it is written.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    root: Root,
    /// Base64 of the sealed keyring.
    sealed: String,
}

impl LocalVault {
    /// Opens the keyring in a file, or makes one with a first key if there is none.
    pub async fn open_or_create(keyring_path: impl Into<PathBuf>, root: RootSecret) -> Result<Self, VaultError> {
        Self::open_in(Place::File(keyring_path.into()), root, Timestamp::default()).await
    }

    /// Opens the keyring in the store, or makes one with a first key if there is none. The store then holds all that is
    /// needed but the root secret, so its nodes need no disk.
    pub async fn in_store(store: Arc<dyn Store>, root: RootSecret, now: Timestamp) -> Result<Self, VaultError> {
        Self::open_in(Place::Store(store), root, now).await
    }

    /// The version of the key that seals.
    pub fn newest_version(&self) -> u32 {
        self.shared.keyring().newest_version()
    }

    /// Seals the keyring under another root secret. Processes that run go on with the keys that they have; those that
    /// start later need the new secret, as do those that must read keys which are made later.
    pub async fn change_root(&self, new: RootSecret) -> Result<(), VaultError> {
        let (root, root_key) = blocking(move || new.begin()).await?;
        for _ in 0..MAX_ATTEMPTS {
            let (found, document) = self.shared.read().await?;
            let keyring = document.open(&self.shared.place, &self.shared.root_key)?;
            let next = Document::seal(root.clone(), &root_key, &keyring)?;
            if self.shared.place.write(next, found.created_at(), Some(&found)).await? == Written::Yes {
                return Ok(());
            }
        }
        Err(contended())
    }

    async fn open_in(place: Place, root: RootSecret, now: Timestamp) -> Result<Self, VaultError> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(found) = place.read().await? else {
                let (root, keyring) = (root.clone(), Keyring::generate()?);
                let (root, root_key) = blocking(move || root.begin()).await?;
                let document = Document::seal(root, &root_key, &keyring)?;
                if place.write(document, now, None).await? == Written::Yes {
                    return Ok(Self::new(place, root_key, keyring));
                }
                continue;
            };
            let document = Document::read(&place, &found)?;
            let (name, described) = (place.to_string(), document.root.clone());
            let root_key = blocking(move || root.resume(&described, &name)).await?;
            let keyring = document.open(&place, &root_key)?;
            return Ok(Self::new(place, root_key, keyring));
        }
        Err(contended())
    }

    fn new(place: Place, root_key: Key, keyring: Keyring) -> Self {
        let keyring = RwLock::new(Arc::new(keyring));
        Self { shared: Arc::new(Shared { place, root_key, keyring }) }
    }
}

#[async_trait]
impl Vault for LocalVault {
    async fn seal(&self, context: &str, plain: &[u8]) -> Result<Sealed, VaultError> {
        self.shared.keyring().seal(NAME, context, plain)
    }

    async fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        match self.shared.keyring().open(NAME, context, sealed) {
            Err(VaultError::UnknownKey(_)) => {
                self.shared.reload().await?;
                self.shared.keyring().open(NAME, context, sealed)
            }
            result => result,
        }
    }

    async fn rewrap(&self, context: &str, sealed: &Sealed) -> Result<Option<Sealed>, VaultError> {
        match self.shared.keyring().rewrap(NAME, context, sealed) {
            Err(VaultError::UnknownKey(_)) => {
                self.shared.reload().await?;
                self.shared.keyring().rewrap(NAME, context, sealed)
            }
            result => result,
        }
    }

    async fn rotate(&self) -> Result<u32, VaultError> {
        for _ in 0..MAX_ATTEMPTS {
            let (found, document) = self.shared.read().await?;
            let keyring = document.open(&self.shared.place, &self.shared.root_key)?.rotated()?;
            let next = Document::seal(document.root, &self.shared.root_key, &keyring)?;
            ROTATION_MADE.reach();
            // Written before it is used: no value may be sealed with a key that a crash could lose.
            if self.shared.place.write(next, found.created_at(), Some(&found)).await? == Written::Yes {
                ROTATION_WRITTEN.reach();
                let version = keyring.newest_version();
                self.shared.replace(keyring);
                ROTATION_USED.reach();
                return Ok(version);
            }
        }
        Err(contended())
    }
}

impl Shared {
    async fn read(&self) -> Result<(Found, Document), VaultError> {
        let found = self.place.read().await?.ok_or_else(|| VaultError::bad(&self.place, "is missing; restore it"))?;
        let document = Document::read(&self.place, &found)?;
        Ok((found, document))
    }

    async fn reload(&self) -> Result<(), VaultError> {
        let (_, document) = self.read().await?;
        self.replace(document.open(&self.place, &self.root_key)?);
        Ok(())
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, keyring: Keyring) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }
}

impl Document {
    fn read(place: &Place, found: &Found) -> Result<Self, VaultError> {
        let document = Self::deserialize(&found.document).map_err(|_| VaultError::bad(place, "is not a keyring; restore it"))?;
        if document.format > FORMAT {
            return Err(VaultError::bad(place, format!("has format {}; use the newer program that wrote it", document.format)));
        }
        Ok(document)
    }

    fn seal(root: Root, root_key: &Key, keyring: &Keyring) -> Result<serde_json::Value, VaultError> {
        let plain = Zeroizing::new(serde_json::to_vec(keyring).expect("a keyring is numbers and texts, which always become JSON"));
        let sealed = BASE64.encode(keyring::seal(root_key, CONTEXT, &plain)?);
        let document = Self { format: FORMAT, root, sealed };
        Ok(serde_json::to_value(document).expect("a document is numbers and texts, which always become JSON"))
    }

    fn open(&self, place: &Place, root_key: &Key) -> Result<Keyring, VaultError> {
        let sealed = BASE64.decode(&self.sealed).map_err(|_| VaultError::bad(place, "is damaged; restore it"))?;
        let plain = keyring::open(root_key, CONTEXT, &sealed).map_err(|_| VaultError::WrongSecret(place.to_string()))?;
        serde_json::from_slice(&plain).map_err(|_| VaultError::bad(place, "holds keys that this program cannot read"))
    }
}

fn contended() -> VaultError {
    VaultError::Unavailable("other processes change the keyring all the time".into())
}
