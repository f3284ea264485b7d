//! A vault that forgets.

use async_trait::async_trait;
use tfe_core::secret::Sealed;
use zeroize::Zeroizing;

use super::{Vault, VaultError, keyring::Keyring};

const NAME: &str = "memory";

/// A vault with a random key that is gone with the process; for tests and trials.
#[derive(Debug)]
pub struct MemoryVault {
    keyring: Keyring,
}

impl MemoryVault {
    /// A vault with a new key; fails only if the operating system gives no randomness.
    pub fn new() -> Result<Self, VaultError> {
        Ok(Self { keyring: Keyring::generate()? })
    }
}

#[async_trait]
impl Vault for MemoryVault {
    async fn seal(&self, context: &str, plain: &[u8]) -> Result<Sealed, VaultError> {
        self.keyring.seal(NAME, context, plain)
    }

    async fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.keyring.open(NAME, context, sealed)
    }
}
