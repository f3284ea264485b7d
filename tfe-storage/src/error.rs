//! Why a store says no, by what the caller can do about it.

/// The result of a storage call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store says no. `kind` is always the kind of the record that the refused read or write was about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The record is not at the expected version any more, or gone, or another batch was in the way.
    /// Reload, decide again, commit again.
    #[error("{kind} {id} has changed in the meantime")]
    Conflict {
        /// Kind of the record.
        kind: &'static str,
        /// Id of the record.
        id: String,
    },
    /// A record with this id or these unique values exists. Choose others.
    #[error("{kind} with these values exist already")]
    AlreadyExists {
        /// Kind of the new or changed record.
        kind: &'static str,
    },
    /// The record refers to another one that does not exist. Make that first, or give up.
    #[error("{kind} refer to something that does not exist")]
    Dangling {
        /// Kind of the referring record.
        kind: &'static str,
    },
    /// There is no such record.
    #[error("{kind} {id} does not exist")]
    NotFound {
        /// Kind of the record.
        kind: &'static str,
        /// Id of the record.
        id: String,
    },
    /// The batch or query breaks a rule that holds for every store; the caller has a bug or passed on unchecked input.
    #[error("{kind}: {reason}")]
    Invalid {
        /// Kind of the record or query.
        kind: &'static str,
        /// Which rule.
        reason: String,
    },
    /// The stored body is not what this program's type reads. Repair it, or use the program that wrote it.
    #[error("{kind} {id} cannot be read")]
    Corrupt {
        /// Kind of the record.
        kind: &'static str,
        /// Id of the record.
        id: String,
        /// Where the reading failed.
        source: serde_json::Error,
    },
    /// The data as a whole was made by a program that this one cannot follow. Use the newer program.
    #[error("the data does not fit this program: {0}")]
    Incompatible(String),
    /// The address does not name a store. Correct it.
    #[error("the store's address is wrong: {0}")]
    Address(String),
    /// The backend's disk is full. Make space; nothing was written.
    #[error("the store has no space left")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The backend cannot be reached or failed. Try again later; a commit that ended so may have happened or not.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// The backend failed with `source`.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into())
    }
}
