//! A vault without cryptography, since thousands of worlds seal millions of values: it authenticates by writing the context down.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use tfe_core::secret::Sealed;
use tfe_storage::{Vault, VaultError};
use zeroize::Zeroizing;

const PREFIX: &str = "open:v1:";

#[derive(Debug)]
pub(crate) struct OpenVault;

#[async_trait]
impl Vault for OpenVault {
    async fn seal(&self, context: &str, plain: &[u8]) -> Result<Sealed, VaultError> {
        Ok(Sealed::new(format!("{PREFIX}{}", STANDARD.encode([context.as_bytes(), &[0], plain].concat()))))
    }

    async fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let text = sealed.as_str().strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok()).ok_or(VaultError::Tampered)?;
        let plain = text.strip_prefix(context.as_bytes()).and_then(|text| text.strip_prefix(&[0])).ok_or(VaultError::Tampered)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }

    async fn rewrap(&self, _: &str, _: &Sealed) -> Result<Option<Sealed>, VaultError> {
        Ok(None)
    }

    async fn rotate(&self) -> Result<u32, VaultError> {
        Ok(1)
    }
}
