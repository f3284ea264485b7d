//! Why a snapshot cannot be made or used, by what the caller can do.

use std::fmt;

use crate::{BlobError, Error, VaultError};

/// Why a snapshot cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no repository at the address. Check the address; `snapshot create` makes one.
    #[error("there are no snapshots here; check the address")]
    NoRepository,
    /// There is no such snapshot. List them.
    #[error("there is no snapshot {0}; list those there are")]
    NoSnapshot(String),
    /// The secret is wrong, or the vault does not answer. Nothing was changed.
    #[error("the snapshots cannot be opened: {0}")]
    Secret(#[source] VaultError),
    /// A newer program wrote it. Use that.
    #[error("the snapshots have format {0}, which this program does not know; use the newer program that wrote them")]
    Format(u32),
    /// Parts were changed, cut or lost. Use an older snapshot.
    #[error("{0}")]
    Damaged(Damage),
    /// Something that a record refers to is not there, so that there can be no snapshot. Repair it first.
    #[error("a snapshot would lack {what} of {record}; no snapshot was made. Repair or delete that record and try again")]
    Incomplete {
        /// What is missing.
        what: String,
        /// Which record refers to it.
        record: String,
    },
    /// There is no installation to take a snapshot of, or one that is not complete. Name the one that is meant.
    #[error("there is no installation here, or it is not complete; check the data directory and the configuration. No snapshot was made")]
    NoInstallation,
    /// The newest snapshot is of another installation, or of another life of this one. Choose another place, or say that this one
    /// takes it over.
    #[error(
        "the newest snapshot here, {0}, is of another installation, or of this one before or after a restore; choose a place of its own \
         for this one (TFE_BACKUP_URL), or let it take this place over: tfe snapshot create --claim"
    )]
    Foreign(String),
    /// Somebody else works on the repository. Try again.
    #[error("{0}; try again when that has ended")]
    Busy(&'static str),
    /// The target holds an installation. Choose an empty one.
    #[error("there is an installation already; choose an empty database, bucket or directory. Nothing was changed")]
    Occupied,
    /// It would not be safe, for a reason that the operator may know better. Do what it says.
    #[error("{0}. Nothing was changed")]
    Unsafe(String),
    /// The records' store failed.
    #[error("records cannot be read or written: {0}")]
    Store(#[from] Error),
    /// The repository or the object store of the installation failed.
    #[error("objects cannot be read or written: {0}")]
    Objects(#[from] BlobError),
    /// A value could not be opened or sealed.
    #[error("a secret of {record} cannot be opened or sealed: {source}")]
    Vault {
        /// Kind and id of the record.
        record: String,
        /// Why.
        source: VaultError,
    },
    /// The records of a snapshot contradict each other.
    #[error("the records of the snapshot do not fit together: {0}")]
    Inconsistent(String),
}

/// Parts that are not as they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    /// Each damaged object of the repository, and what of the installation it holds.
    pub parts: Vec<(String, String)>,
}

impl Damage {
    pub(super) fn one(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { parts: vec![(object.into(), what.into())] }
    }

    /// Takes note of damage, so that the rest is looked at as well and all of it is told at once.
    pub(super) fn unless_damaged<T>(&mut self, read: Result<T, SnapshotError>) -> Result<Option<T>, SnapshotError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(SnapshotError::Damaged(found)) => {
                self.parts.extend(found.parts);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        let shown: Vec<_> = self.parts.iter().take(SHOWN).map(|(object, what)| format!("{object} ({what})")).collect();
        write!(f, "changed, cut or lost: {}", shown.join(", "))?;
        match self.parts.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl From<Damage> for SnapshotError {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}
