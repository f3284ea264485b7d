//! A vault that forgets.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use tfe_core::secret::Sealed;
use zeroize::Zeroizing;

use super::{Vault, VaultError, keyring::Keyring};

const NAME: &str = "memory";

/// A vault with a random key that is gone with the process; for tests and trials.
#[derive(Debug)]
pub struct MemoryVault {
    keyring: RwLock<Arc<Keyring>>,
}

impl MemoryVault {
    /// A vault with a new key; fails only if the operating system gives no randomness.
    pub fn new() -> Result<Self, VaultError> {
        Ok(Self { keyring: RwLock::new(Arc::new(Keyring::generate()?)) })
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Vault for MemoryVault {
    async fn seal(&self, context: &str, plain: &[u8]) -> Result<Sealed, VaultError> {
        self.keyring().seal(NAME, context, plain)
    }

    async fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.keyring().open(NAME, context, sealed)
    }

    async fn rewrap(&self, context: &str, sealed: &Sealed) -> Result<Option<Sealed>, VaultError> {
        self.keyring().rewrap(NAME, context, sealed)
    }

    async fn rotate(&self) -> Result<u32, VaultError> {
        let mut keyring = self.keyring.write().unwrap_or_else(PoisonError::into_inner);
        *keyring = Arc::new(Keyring::clone(&keyring).rotated()?);
        Ok(keyring.newest_version())
    }
}
