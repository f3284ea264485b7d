//! Where a keyring's document is: in a file, or in the store that its keys protect.

use std::{fmt, path::PathBuf, sync::Arc};

use tfe_core::{keyring::Keyring as Record, time::Timestamp};

use super::{VaultError, file};
use crate::{Batch, Error, FIRST_VERSION, Store, StoreExt, Versioned};

/// Longest keyring file in bytes: a key takes about a hundred, so this is ten thousand rotations.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Where a keyring's document is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    File(PathBuf),
    Store(Arc<dyn Store>),
}

/// A document as it was read, for the write that replaces it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) document: serde_json::Value,
    version: u64,
    created_at: Timestamp,
}

impl Found {
    /// When the first document was made.
    pub(super) fn created_at(&self) -> Timestamp {
        self.created_at
    }
}

/// Whether a write took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    /// Somebody else was faster; read again.
    TooLate,
}

impl Place {
    /// The document, if there is one.
    pub(super) async fn read(&self) -> Result<Option<Found>, VaultError> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let content = blocking(move || file::read(&path, MAX_FILE_BYTES).map_err(|error| VaultError::file(&path, &error))).await?;
                content.map(|content| self.parse(&content)).transpose()
            }
            Self::Store(store) => {
                let found = store.find::<Record>(Record::only_id().as_str()).await.map_err(unavailable)?;
                Ok(found.map(|found| {
                    let version = found.version;
                    let Record { document, created_at, .. } = found.into_record();
                    Found { document, version, created_at }
                }))
            }
        }
    }

    /// Writes the document in the place of what was read, which is nothing for the first.
    pub(super) async fn write(&self, document: serde_json::Value, now: Timestamp, replaced: Option<&Found>) -> Result<Written, VaultError> {
        match self {
            Self::File(path) => {
                let (path, content) =
                    (path.clone(), serde_json::to_vec_pretty(&document).map_err(|error| VaultError::Unavailable(error.into()))?);
                let expected = replaced.map(|found| found.document.clone());
                blocking(move || write_file(&path, &content, expected.as_ref())).await
            }
            Self::Store(store) => {
                let created_at = replaced.map_or(now, |found| found.created_at);
                let next = Record { id: Record::only_id(), created_at, document };
                let batch = match replaced {
                    None => Batch::new().insert(&next),
                    Some(found) => Batch::new().update(&Versioned { version: found.version, record: next.clone() }, &next),
                };
                match store.commit(batch).await {
                    Ok(()) => Ok(Written::Yes),
                    Err(Error::Conflict { .. } | Error::AlreadyExists { .. }) => Ok(Written::TooLate),
                    Err(error) => Err(unavailable(error)),
                }
            }
        }
    }

    fn parse(&self, content: &[u8]) -> Result<Found, VaultError> {
        let document = serde_json::from_slice(content).map_err(|_| VaultError::bad(self, "is not a keyring; restore it"))?;
        Ok(Found { document, version: FIRST_VERSION, created_at: Timestamp::default() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the keyring {}", path.display()),
            Self::Store(_) => f.write_str("the keyring in the database"),
        }
    }
}

/// Under the file's lock, so that processes change it one after another.
fn write_file(path: &std::path::Path, content: &[u8], expected: Option<&serde_json::Value>) -> Result<Written, VaultError> {
    let failed = |error| VaultError::file(path, &error);
    let _lock = file::lock(path).map_err(failed)?;
    let present = file::read(path, MAX_FILE_BYTES).map_err(failed)?;
    let present = present.map(|content| serde_json::from_slice::<serde_json::Value>(&content).unwrap_or_default());
    if present.as_ref() != expected {
        return Ok(Written::TooLate);
    }
    file::replace(path, content).map_err(failed)?;
    Ok(Written::Yes)
}

fn unavailable(error: Error) -> VaultError {
    VaultError::Unavailable(error.into())
}

/// Deriving keys and waiting for disks is no work for the async threads.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, VaultError> + Send + 'static) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| VaultError::Unavailable(error.into()))?
}
