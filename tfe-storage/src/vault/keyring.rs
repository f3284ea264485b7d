//! Versioned keys and the form of what they seal: `<vault>:v<version>:<base64 of nonce and ciphertext>`.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tfe_core::{
    cipher::{KEY_LENGTH, Key, NONCE_LENGTH, Nonce},
    secret::Sealed,
};
use zeroize::Zeroizing;

use super::{VaultError, random};

/// Keys by version, the newest of which seals. A key may seal some 2^32 values before random nonces could meet;
/// rotate long before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Keyring {
    keys: BTreeMap<u32, StoredKey>,
}

/// A key that serialises as base64; only ever written inside the sealed part of a keyring file.
#[derive(Debug, Clone)]
struct StoredKey(Key);

impl Keyring {
    /// A keyring with one key.
    pub(super) fn generate() -> Result<Self, VaultError> {
        Self::default().rotated()
    }

    /// The same with one more key.
    pub(super) fn rotated(mut self) -> Result<Self, VaultError> {
        self.keys.insert(self.newest_version() + 1, StoredKey(Key::new(random()?)));
        Ok(self)
    }

    /// The version that seals.
    pub(super) fn newest_version(&self) -> u32 {
        self.keys.last_key_value().map_or(0, |(version, _)| *version)
    }

    /// Seals with the newest key.
    pub(super) fn seal(&self, vault: &str, context: &str, plain: &[u8]) -> Result<Sealed, VaultError> {
        let (version, StoredKey(key)) = self.keys.last_key_value().ok_or(VaultError::UnknownKey(1))?;
        Ok(Sealed::new(format!("{vault}:v{version}:{}", BASE64.encode(seal(key, context, plain)?))))
    }

    /// Opens with the key that the value names.
    pub(super) fn open(&self, vault: &str, context: &str, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (version, bytes) = parse(vault, sealed).ok_or(VaultError::Tampered)?;
        let StoredKey(key) = self.keys.get(&version).ok_or(VaultError::UnknownKey(version))?;
        open(key, context, &bytes)
    }

    /// Seals with the newest key what another one sealed.
    pub(super) fn rewrap(&self, vault: &str, context: &str, sealed: &Sealed) -> Result<Option<Sealed>, VaultError> {
        let (version, _) = parse(vault, sealed).ok_or(VaultError::Tampered)?;
        let plain = self.open(vault, context, sealed)?;
        if version == self.newest_version() { Ok(None) } else { self.seal(vault, context, &plain).map(Some) }
    }
}

/// Seals with a random nonce, which comes first in the result.
pub(super) fn seal(key: &Key, context: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
    let nonce = Nonce::from_random(random()?);
    let mut text = Vec::with_capacity(plain.len() + NONCE_LENGTH + tfe_core::cipher::TAG_LENGTH);
    text.extend_from_slice(plain);
    key.seal(nonce, context.as_bytes(), &mut text);
    text.splice(0..0, *nonce.as_bytes());
    Ok(text)
}

/// Opens what [`seal`] made.
pub(super) fn open(key: &Key, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_LENGTH>().ok_or(VaultError::Tampered)?;
    let mut text = Zeroizing::new(text.to_vec());
    key.open(Nonce::from_random(*nonce), context.as_bytes(), &mut text)?;
    Ok(text)
}

fn parse(vault: &str, sealed: &Sealed) -> Option<(u32, Vec<u8>)> {
    let rest = sealed.as_str().strip_prefix(vault)?.strip_prefix(":v")?;
    let (version, text) = rest.split_once(':')?;
    Some((version.parse().ok()?, BASE64.decode(text).ok()?))
}

impl Serialize for StoredKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(BASE64.encode(self.0.expose()));
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for StoredKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = BASE64.decode(&*text).map(Zeroizing::new).map_err(|_| D::Error::custom("a key is not base64"))?;
        let key = Key::from_slice(&bytes).ok_or_else(|| D::Error::custom(format_args!("a key has not {KEY_LENGTH} bytes")))?;
        Ok(Self(key))
    }
}
