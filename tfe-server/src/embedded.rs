//! The data directory, and the key beside it.
//!
//! One process at a time: a lock on the directory is held as long as the server lives, and the system lets it go when
//! the process dies, however it dies.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use tfe_core::secret::Secret;

/// The right to use a data directory, given back when dropped.
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "held, never read")] Flock<File>);

/// Where the secret is that opens the keyring.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// A password, from which a key is derived.
    Password(Secret),
    /// A file, made at the first start; it should not lie in the data directory.
    File(PathBuf),
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process has it.
    #[error("the data directory {0} is in use by another server; stop that one, or choose another with --data-dir")]
    InUse(PathBuf),
    /// It cannot be read or written.
    #[error("the data directory {path} cannot be used: {source}; check that it exists and belongs to this user")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DirectoryLock {
    /// Takes the directory, making it if it is missing.
    pub fn acquire(directory: &Path) -> Result<Self, EmbeddedError> {
        private_directory(directory)?;
        let failed = |source| EmbeddedError::Directory { path: directory.to_owned(), source };
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(directory.join("lock")).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self(lock)),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(EmbeddedError::InUse(directory.to_owned())),
            Err((_, error)) => Err(failed(error.into())),
        }
    }
}

/// Makes a directory that only this user can enter.
pub(crate) fn private_directory(path: &Path) -> Result<(), EmbeddedError> {
    let made = if path.is_dir() { Ok(()) } else { fs::DirBuilder::new().recursive(true).mode(0o700).create(path) };
    made.map_err(|source| EmbeddedError::Directory { path: path.to_owned(), source })
}
