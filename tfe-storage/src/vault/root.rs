//! The secret under which a keyring file is sealed: a password or a key file.

use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use tfe_core::{
    cipher::{KEY_LENGTH, Key},
    secret::Secret,
};
use zeroize::Zeroizing;

use super::{VaultError, file, random};

/// Memory for deriving a key from a password, in KiB, and the passes over it: what RFC 9106 recommends where
/// memory is scarce. It happens once per start.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
/// Most memory that a keyring file may ask for, so that a bad file cannot take it all.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
/// Most passes that a keyring file may ask for.
const MAX_PASSES: u32 = 100;
const SALT_LENGTH: usize = 16;

/// What opens a keyring file.
#[derive(Debug, Clone)]
pub enum RootSecret {
    /// A password, from which a key is derived with Argon2id.
    Password(Secret),
    /// The path of a file with 32 random bytes; made with mode 0600 when neither it nor the keyring exists.
    KeyFile(PathBuf),
}

/// What a keyring file says about its root secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Root {
    Password { salt: String, memory_kib: u32, passes: u32 },
    KeyFile,
}

impl RootSecret {
    /// The key and description for a new keyring.
    pub(super) fn begin(&self) -> Result<(Root, Key), VaultError> {
        match self {
            Self::Password(password) => {
                let salt = BASE64.encode(random::<SALT_LENGTH>()?);
                let key = derive(password, &salt, MEMORY_KIB, PASSES).ok_or(VaultError::Tampered)?;
                Ok((Root::Password { salt, memory_kib: MEMORY_KIB, passes: PASSES }, key))
            }
            Self::KeyFile(path) => Ok((Root::KeyFile, read_or_create(path)?)),
        }
    }

    /// The key for an existing keyring.
    pub(super) fn resume(&self, root: &Root, keyring: &str) -> Result<Key, VaultError> {
        match (self, root) {
            (Self::Password(password), Root::Password { salt, memory_kib, passes }) => {
                let bad = || VaultError::bad(keyring, "has parameters for the password that cannot be used; restore it");
                derive(password, salt, *memory_kib, *passes).ok_or_else(bad)
            }
            (Self::KeyFile(path), Root::KeyFile) => {
                let missing = || VaultError::MissingKeyFile { key_file: path.clone(), keyring: keyring.to_owned() };
                read(path)?.ok_or_else(missing)
            }
            (Self::Password(_), Root::KeyFile) => Err(VaultError::bad(keyring, "is opened by a key file, not by a password")),
            (Self::KeyFile(_), Root::Password { .. }) => Err(VaultError::bad(keyring, "is opened by a password, not by a key file")),
        }
    }
}

fn derive(password: &Secret, salt: &str, memory_kib: u32, passes: u32) -> Option<Key> {
    if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES {
        return None;
    }
    let salt = BASE64.decode(salt).ok()?;
    let parameters = Params::new(memory_kib, passes, 1, Some(KEY_LENGTH)).ok()?;
    let mut key = Zeroizing::new([0; KEY_LENGTH]);
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    argon.hash_password_into(password.expose().as_bytes(), &salt, key.as_mut_slice()).ok()?;
    Some(Key::new(*key))
}

fn read_or_create(path: &Path) -> Result<Key, VaultError> {
    if let Some(key) = read(path)? {
        return Ok(key);
    }
    let bytes = Zeroizing::new(random::<KEY_LENGTH>()?);
    match file::create(path, bytes.as_slice()) {
        Ok(()) => Ok(Key::new(*bytes)),
        // Another process was faster; its key counts.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read(path)?.ok_or_else(|| VaultError::file(path, &error)),
        Err(error) => Err(VaultError::file(path, &error)),
    }
}

fn read(path: &Path) -> Result<Option<Key>, VaultError> {
    let Some(bytes) = file::read(path, KEY_LENGTH as u64 + 1).map_err(|error| VaultError::file(path, &error))? else { return Ok(None) };
    let bytes = Zeroizing::new(bytes);
    let key = Key::from_slice(&bytes).ok_or_else(|| VaultError::bad(path.display(), format!("has not {KEY_LENGTH} bytes; restore it")))?;
    Ok(Some(key))
}
