//! A vault in a local file: a keyring, sealed under a root secret.
//!
//! Several processes may share the file. Each change is made under a lock on the newest content, and a process that
//! meets a value of a version it does not know reads the file again.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use tfe_core::{cipher::Key, secret::Sealed};
use zeroize::Zeroizing;

use super::{
    RootSecret, Vault, VaultError, file,
    keyring::{self, Keyring},
    root::Root,
};

const NAME: &str = "local";
/// Raised when the file changes in a way that older programs cannot follow.
const FORMAT: u32 = 1;
/// What the keyring's own seal is for.
const CONTEXT: &str = "keyring";
/// Longest keyring file in bytes: a key takes about a hundred, so this is ten thousand rotations.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A vault whose keys are in a file. Clones share the keys.
#[derive(Debug, Clone)]
pub struct LocalVault {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    root: Root,
    root_key: Key,
    keyring: RwLock<Arc<Keyring>>,
}

/// The keyring file.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    format: u32,
    root: Root,
    /// Base64 of the sealed keyring.
    sealed: String,
}

impl LocalVault {
    /// Opens the keyring, or makes one with a first key if there is none.
    pub async fn open_or_create(keyring_path: impl Into<PathBuf>, root: RootSecret) -> Result<Self, VaultError> {
        let path = keyring_path.into();
        blocking(move || Shared::open_or_create(path, &root)).await.map(|shared| Self { shared: Arc::new(shared) })
    }

    /// Adds a key version, which seals from now on. What was sealed before can still be opened.
    pub async fn rotate(&self) -> Result<(), VaultError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.rotate()).await
    }

    /// The version of the key that seals.
    pub fn newest_version(&self) -> u32 {
        self.shared.keyring().newest_version()
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
                let shared = Arc::clone(&self.shared);
                blocking(move || shared.reload()).await?;
                self.shared.keyring().open(NAME, context, sealed)
            }
            result => result,
        }
    }
}

impl Shared {
    fn open_or_create(path: PathBuf, root: &RootSecret) -> Result<Self, VaultError> {
        let _lock = file::lock(&path).map_err(|error| VaultError::file(&path, &error))?;
        if let Some(document) = Document::read(&path)? {
            let root_key = root.resume(&document.root, &path)?;
            let keyring = RwLock::new(Arc::new(document.open(&path, &root_key)?));
            return Ok(Self { path, root: document.root, root_key, keyring });
        }
        let (root, root_key) = root.begin()?;
        let keyring = Keyring::generate()?;
        let shared = Self { path, root, root_key, keyring: RwLock::default() };
        shared.write(&keyring)?;
        shared.replace(keyring);
        Ok(shared)
    }

    fn rotate(&self) -> Result<(), VaultError> {
        let _lock = file::lock(&self.path).map_err(|error| VaultError::file(&self.path, &error))?;
        let keyring = self.read()?.rotated()?;
        // Written before it is used: no value may be sealed with a key that a crash could lose.
        self.write(&keyring)?;
        self.replace(keyring);
        Ok(())
    }

    fn reload(&self) -> Result<(), VaultError> {
        self.replace(self.read()?);
        Ok(())
    }

    fn read(&self) -> Result<Keyring, VaultError> {
        let document = Document::read(&self.path)?.ok_or_else(|| VaultError::bad(&self.path, "is missing; restore it"))?;
        document.open(&self.path, &self.root_key)
    }

    fn write(&self, keyring: &Keyring) -> Result<(), VaultError> {
        let plain = Zeroizing::new(serde_json::to_vec(keyring).expect("a keyring is numbers and texts, which always become JSON"));
        let sealed = BASE64.encode(keyring::seal(&self.root_key, CONTEXT, &plain)?);
        let document = Document { format: FORMAT, root: self.root.clone(), sealed };
        let content = serde_json::to_vec_pretty(&document).expect("a document is numbers and texts, which always become JSON");
        file::replace(&self.path, &content).map_err(|error| VaultError::file(&self.path, &error))
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, keyring: Keyring) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }
}

impl Document {
    fn read(path: &Path) -> Result<Option<Self>, VaultError> {
        let content = file::read(path, MAX_FILE_BYTES).map_err(|error| VaultError::file(path, &error))?;
        let Some(content) = content else { return Ok(None) };
        let document: Self = serde_json::from_slice(&content).map_err(|_| VaultError::bad(path, "is not a keyring; restore it"))?;
        if document.format > FORMAT {
            return Err(VaultError::bad(path, format!("has format {}; use the newer program that wrote it", document.format)));
        }
        Ok(Some(document))
    }

    fn open(&self, path: &Path, root_key: &Key) -> Result<Keyring, VaultError> {
        let wrong = |_| VaultError::WrongSecret(path.to_owned());
        let sealed = BASE64.decode(&self.sealed).map_err(|_| VaultError::bad(path, "is damaged; restore it"))?;
        let plain = keyring::open(root_key, CONTEXT, &sealed).map_err(wrong)?;
        serde_json::from_slice(&plain).map_err(|_| VaultError::bad(path, "holds keys that this program cannot read"))
    }
}

/// Deriving keys and waiting for disks is no work for the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, VaultError> + Send + 'static) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| VaultError::Unavailable(error.into()))?
}
