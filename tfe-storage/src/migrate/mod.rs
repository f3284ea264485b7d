//! Moving an installation: all records and blobs from one set of backends to another, and proof that they are equal.
//!
//! Sealed values are opened by the source's vault and sealed by the target's on the way; the objects of blobs are copied
//! as they are, since only their small data keys are sealed by a vault. The source is only read. What is in the target
//! already is compared and left, so a migration that was stopped goes on where it was when it is started again. Until all
//! is proved equal the target is marked as unfinished, and no server works on it.

mod digest;
mod objects;
mod records;

use std::sync::Arc;

use object_store::ObjectStore;
use tfe_core::record::Kind;

use crate::{BlobError, Error, Store, Vault, VaultError};

pub use self::digest::{Digest, digest};
pub(crate) use self::{
    digest::hex,
    records::{UNFINISHED, finish, ordered},
};

/// One side of a migration.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its records.
    pub store: Arc<dyn Store>,
    /// Its objects.
    pub objects: Arc<dyn ObjectStore>,
    /// What seals its secrets.
    pub vault: Arc<dyn Vault>,
}

/// What is being done, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Objects of blobs are copied.
    Blobs,
    /// Records are copied.
    Records,
    /// Both sides are read and compared.
    Verification,
}

/// How far a stage is: its number of records so far.
pub type Progress<'a> = &'a mut (dyn FnMut(Stage, u64) + Send);

/// Why a migration failed. The source is as it was in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The target holds records of another installation. Choose an empty target.
    #[error("the target holds another installation; choose an empty database, bucket or directory")]
    Occupied,
    /// A store failed. Start again.
    #[error("records cannot be copied: {0}")]
    Store(#[from] Error),
    /// An object could not be copied. Start again; if it is missing, the source needs a repair first.
    #[error("the blob {id} cannot be copied: {source}")]
    Blob {
        /// Which.
        id: String,
        /// Why.
        source: BlobError,
    },
    /// A value could not be opened or sealed.
    #[error("a secret of {kind} {id} cannot be moved: {source}")]
    Vault {
        /// Kind of the record.
        kind: &'static str,
        /// Its id.
        id: String,
        /// Why.
        source: VaultError,
    },
    /// The two sides differ after all was copied, most likely since a server still works on one of them. Stop it and
    /// start again.
    #[error("source and target differ in {0}; stop all servers of both and start again")]
    Differs(String),
}

/// Copies everything from `source` to `target` and compares the two; gives the digest that both have. `kinds` are
/// copied in their order, except for what belongs to a store itself.
pub async fn migrate(source: &Place, target: &Place, kinds: &[&'static Kind], progress: Progress<'_>) -> Result<Digest, MigrateError> {
    let kinds: Vec<_> = kinds.iter().copied().filter(|kind| is_moved(kind)).collect();
    records::check_target(source, target).await?;
    // Objects first: no record of the target ever refers to one that is not there.
    objects::copy(source, target, progress).await?;
    records::copy(source, target, &kinds, progress).await?;
    records::prune(source, target, &kinds).await?;
    let before = digest(source, &kinds, progress).await?;
    let after = digest(target, &kinds, progress).await?;
    if let Some(kind) = before.difference(&after) {
        return Err(MigrateError::Differs(kind));
    }
    records::finish(target).await?;
    Ok(after)
}

/// The keyring of a store opens that store's values and no others.
pub(crate) fn is_moved(kind: &Kind) -> bool {
    kind.name != tfe_core::keyring::KEYRINGS.name
}
