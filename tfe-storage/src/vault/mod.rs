//! Secrets: values that are stored sealed and opened only where they are used.

mod envelope;
mod file;
mod keyring;
mod local;
mod memory;
mod place;
mod root;
#[cfg(feature = "transit")]
pub mod transit;

use std::{fmt::Debug, io, path::PathBuf};

use async_trait::async_trait;
use tfe_core::{cipher::Tampered, secret::Sealed};
use zeroize::Zeroizing;

pub use self::{envelope::Envelope, local::LocalVault, memory::MemoryVault, root::RootSecret};

/// Seals small values, such as variables and the data keys of blobs, under a key that never leaves the vault.
///
/// `context` says what the value is and to whom it belongs, such as `variable:var-x`. It is not secret and not
/// stored, but authenticated: the same text must be given to open, so a sealed value cannot be put in another's
/// place. Two sealings of one value differ. What any earlier key version sealed can still be opened.
#[async_trait]
pub trait Vault: Debug + Send + Sync + 'static {
    /// Seals `plain` for this context.
    async fn seal(&self, context: &str, plain: &[u8]) -> Result<Sealed, VaultError>;

    /// Opens what was sealed for the same context.
    async fn open(&self, context: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError>;

    /// The same value, sealed with the newest key; none if it is so already.
    async fn rewrap(&self, context: &str, sealed: &Sealed) -> Result<Option<Sealed>, VaultError>;

    /// Adds a key version, which seals from now on, and gives its number.
    async fn rotate(&self) -> Result<u32, VaultError>;

    /// Whether values can be sealed and opened now.
    async fn check(&self) -> Result<(), VaultError> {
        let sealed = self.seal(CHECK_CONTEXT, CHECK_CONTEXT.as_bytes()).await?;
        self.open(CHECK_CONTEXT, &sealed).await.map(drop)
    }
}

/// What a check seals and opens.
const CHECK_CONTEXT: &str = "check";

/// Why a vault says no, by what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The password or key file does not open the keyring. Give the right one; nothing was changed.
    #[error("the password or key file does not open {0}; give the right one, nothing was changed")]
    WrongSecret(String),
    /// The key file is missing while its keyring exists. Restore it.
    #[error(
        "the key file {} of the {keyring} is missing; restore it from where you keep it: without it nothing that was sealed can be opened",
        key_file.display()
    )]
    MissingKeyFile {
        /// Where the key file should be.
        key_file: PathBuf,
        /// The keyring that it opens.
        keyring: String,
    },
    /// A keyring or key file is not what it should be. Restore it.
    #[error("{place} {reason}")]
    Bad {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The value was changed, belongs to another context, or was not sealed by this vault.
    #[error("the sealed value was changed or belongs elsewhere")]
    Tampered,
    /// The value was sealed with a key that this vault does not have. Restore the newest keyring.
    #[error("the keyring has no key of version {0}")]
    UnknownKey(u32),
    /// The key that seals was deleted, or the version that sealed this is not allowed any more. Restore it.
    #[error("the key {0} is gone, or its old versions may not be used any more; restore it from the vault's backup")]
    KeyGone(String),
    /// The vault's policy forbids what is needed. Add the line to it.
    #[error("the vault forbids it; add to the policy: path \"{path}\" {{ capabilities = [\"{capability}\"] }}")]
    Denied {
        /// The path.
        path: String,
        /// What must be allowed there.
        capability: &'static str,
    },
    /// The vault does not take the role, secret id or token. Give others.
    #[error("the vault refuses the login; check role id and secret id, or the token")]
    LoginRefused,
    /// The settings of the vault do not fit. Correct them.
    #[error("the vault cannot be used: {0}")]
    Unusable(String),
    /// A file or service cannot be used now. Try again later.
    #[error("the vault is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<Tampered> for VaultError {
    fn from(_: Tampered) -> Self {
        Self::Tampered
    }
}

impl VaultError {
    fn file(path: &std::path::Path, error: &io::Error) -> Self {
        Self::Unavailable(io::Error::new(error.kind(), format!("{}: {error}", path.display())).into())
    }

    pub(crate) fn bad(place: impl ToString, reason: impl Into<String>) -> Self {
        Self::Bad { place: place.to_string(), reason: reason.into() }
    }
}

/// Random bytes from the operating system.
fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| VaultError::Unavailable(error.into()))?;
    Ok(bytes)
}
