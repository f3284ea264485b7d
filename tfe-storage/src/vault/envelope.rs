//! A text sealed under a password, for files that travel, such as a configuration in an object store.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use tfe_core::secret::Secret;
use zeroize::Zeroizing;

use super::{RootSecret, VaultError, keyring, root::Root};

/// A text that only a password opens. How the password becomes a key is part of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Envelope {
    root: Root,
    /// Base64 of the sealed text.
    sealed: String,
}

impl Envelope {
    /// Seals a text. Takes a fraction of a second, and much memory, so that guessing passwords does too.
    pub fn seal(password: &Secret, context: &str, plain: &[u8]) -> Result<Self, VaultError> {
        let (root, key) = RootSecret::Password(password.clone()).begin()?;
        let sealed = BASE64.encode(keyring::seal(&key, context, plain)?);
        Ok(Self { root, sealed })
    }

    /// Opens the text; `name` is what an error calls it.
    pub fn open(&self, password: &Secret, context: &str, name: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let key = RootSecret::Password(password.clone()).resume(&self.root, name)?;
        let sealed = BASE64.decode(&self.sealed).map_err(|_| VaultError::bad(name, "is damaged; restore it"))?;
        keyring::open(&key, context, &sealed).map_err(|_| VaultError::WrongSecret(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_and_context_open_it() {
        let envelope = Envelope::seal(&Secret::from("right"), "c", b"text").unwrap();
        let text = serde_json::to_string(&envelope).unwrap();
        let envelope: Envelope = serde_json::from_str(&text).unwrap();
        assert_eq!(envelope.open(&Secret::from("right"), "c", "it").unwrap().as_slice(), b"text");
        assert!(matches!(envelope.open(&Secret::from("wrong"), "c", "it"), Err(VaultError::WrongSecret(_))));
        assert!(matches!(envelope.open(&Secret::from("right"), "d", "it"), Err(VaultError::WrongSecret(_))));
    }
}
