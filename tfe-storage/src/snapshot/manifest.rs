//! What a snapshot consists of.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use tfe_core::{installation::INSTALLATIONS, time::Timestamp};

use super::SnapshotError;

/// The newest format that this program reads, and the one that it writes.
pub(super) const FORMAT: u32 = 1;

/// A snapshot: names, digests and keys of all that it consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The format of the repository's contents.
    pub format: u32,
    /// Its id: the time, and something random.
    pub id: String,
    /// The moment that it shows.
    pub created_at: Timestamp,
    /// The name of the installation.
    pub installation: String,
    /// Which installation that is, and which of its lives: a restore begins a new one. None in those of older programs.
    #[serde(default)]
    pub identity: Option<String>,
    /// The version of the program that made it.
    pub program: String,
    /// The parts of the records, kind by kind, in the order of ids.
    pub parts: Vec<Part>,
    /// How many records there are.
    pub records: u64,
    /// How many of them are blobs, each with an object.
    pub blobs: u64,
    /// Bytes of all contents of blobs.
    pub blob_bytes: u64,
    /// Where the journal goes on after it, if there is one.
    #[serde(default)]
    pub journal: Option<JournalPosition>,
    /// The configuration of the installation, as the operator wrote it; a part like those of records.
    #[serde(default)]
    pub configuration: Option<Chunk>,
}

/// A run of records of one kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    /// Their kind.
    pub kind: String,
    /// The id of the first.
    pub first: String,
    /// The id of the last.
    pub last: String,
    /// How many there are.
    pub count: u64,
    /// Where they are.
    pub chunk: Chunk,
}

/// An object of the repository under the digest of its bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chunk {
    /// Hex SHA-256 of the object.
    pub sha256: String,
    /// Length of the object.
    pub bytes: u64,
    /// Hex SHA-256 of what is sealed in it. With the repository's key it gives the key that opens it, so that the same
    /// content gives the same object.
    pub content: String,
}

/// A place in a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalPosition {
    /// The journal of one run of a program.
    pub stream: String,
    /// The number of the first commit that is not in the snapshot.
    pub next: u64,
}

impl Manifest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| SnapshotError::Inconsistent(error.to_string()))?;
        if manifest.format > FORMAT { Err(SnapshotError::Format(manifest.format)) } else { Ok(manifest) }
    }

    /// Whether it can become one.
    pub(super) fn has_installation(&self) -> bool {
        self.parts.iter().any(|part| part.kind == INSTALLATIONS.name)
    }
}

impl Part {
    /// In words, which records it holds.
    pub(super) fn contents(&self) -> String {
        if self.count == 1 { format!("{} {}", self.kind, self.first) } else { format!("{} {} to {}", self.kind, self.first, self.last) }
    }
}

/// A new id: ids sort by time.
pub(super) fn new_id(now: Timestamp) -> Result<String, SnapshotError> {
    let chance = getrandom::u32().map_err(crate::Error::unavailable)?;
    let mut id = now.to_string().replace([':', '.'], "-");
    let _ = write!(id, "-{chance:08x}");
    Ok(id)
}
