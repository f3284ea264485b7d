//! When a snapshot was last restored for trial: kept with the snapshots, so that every node and every later process knows.

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tfe_core::time::Timestamp;

use super::{Repository, SnapshotError};

/// The document that says so.
const VERIFIED: &str = "verified";

/// A restore for trial that went well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When it was done.
    pub at: Timestamp,
    /// The snapshot.
    pub snapshot: String,
    /// The moment that a restore would have reached.
    pub reached: Timestamp,
}

impl Repository {
    /// The last restore for trial that went well. None if there was none, or if nobody can read when it was: the next one tells.
    pub async fn verified(&self) -> Result<Option<Verified>, SnapshotError> {
        match self.read_document(&Path::from(VERIFIED), "when a snapshot was last restored for trial").await {
            Ok(document) => Ok(document.and_then(|document| serde_json::from_slice(&document).ok())),
            Err(SnapshotError::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Notes a restore for trial that went well.
    pub async fn note_verified(&self, verified: &Verified) -> Result<(), SnapshotError> {
        let document = serde_json::to_vec(verified).map_err(|error| SnapshotError::Inconsistent(error.to_string()))?;
        self.write_document(&Path::from(VERIFIED), &document).await
    }
}
