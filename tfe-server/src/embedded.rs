//! The data directory, and the key beside it.
//!
//! One server at a time: a lock on the directory is held as long as the server lives, and the system lets it go when
//! the process dies, however it dies. The lock belongs to the open file, so a process can hand it to its successor, and
//! nobody else gets it in between.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tfe_core::secret::Secret;

/// The right to use a data directory, given back when this and all its [duplicates](Self::duplicate) are dropped.
#[derive(Debug)]
pub struct DirectoryLock(File);

/// The locked file's name in the directory.
const LOCK: &str = "lock";

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
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(directory.join(LOCK)).map_err(failed)?;
        Self::locked(directory, file)
    }

    /// Takes over the lock that the server before this one holds, as its open file.
    pub fn inherit(directory: &Path, file: File) -> Result<Self, EmbeddedError> {
        let failed = |source| EmbeddedError::Directory { path: directory.to_owned(), source };
        let (held, wanted) = (file.metadata().map_err(failed)?, fs::metadata(directory.join(LOCK)).map_err(failed)?);
        if (held.dev(), held.ino()) != (wanted.dev(), wanted.ino()) {
            return Err(EmbeddedError::InUse(directory.to_owned()));
        }
        Self::locked(directory, file)
    }

    /// The same lock once more, to hand it to another process.
    pub fn duplicate(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    fn locked(directory: &Path, file: File) -> Result<Self, EmbeddedError> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(EmbeddedError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => Err(EmbeddedError::Directory { path: directory.to_owned(), source }),
        }
    }
}

/// Makes a directory that only this user can enter.
pub(crate) fn private_directory(path: &Path) -> Result<(), EmbeddedError> {
    let made = if path.is_dir() { Ok(()) } else { fs::DirBuilder::new().recursive(true).mode(0o700).create(path) };
    made.map_err(|source| EmbeddedError::Directory { path: path.to_owned(), source })
}
