//! Objects that were found damaged: the next snapshot of the installation, which has them whole, writes them again instead of
//! taking them for known by their path and length.

use std::collections::BTreeSet;

use object_store::{ObjectStoreExt, path::Path};

use super::{Damage, Repository, SnapshotError, repository::RECORDS};
use crate::{BlobError, blobs::DIRECTORY};

/// The document that names them.
const NOTE: &str = "damaged";
/// Most paths that are noted; what is beyond is found again once these are whole.
const MAX_NOTED: usize = 100_000;

impl Repository {
    /// Paths of objects that were found damaged.
    pub(super) async fn damaged(&self) -> Result<BTreeSet<String>, SnapshotError> {
        let note = match self.read_document(&Path::from(NOTE), "the note of what is damaged").await {
            Ok(note) => note,
            // Whatever it named is found once more.
            Err(SnapshotError::Damaged(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(note.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default())
    }

    /// Notes damage. That it cannot be noted, as by somebody who may only read, is no reason to fail.
    pub(super) async fn note_damage(&self, damage: &Damage) {
        if let Err(error) = self.try_note_damage(damage).await {
            tracing::warn!(%error, "what is damaged cannot be noted in the repository");
        }
    }

    async fn try_note_damage(&self, damage: &Damage) -> Result<(), SnapshotError> {
        let is_written_again = |path: &str| [RECORDS, DIRECTORY].iter().any(|directory| path.split('/').next() == Some(*directory));
        let found = damage.parts.iter().map(|(path, _)| path).filter(|path| is_written_again(path));
        let mut noted = self.damaged().await?;
        let before = noted.len();
        noted.extend(found.take(MAX_NOTED.saturating_sub(before)).cloned());
        if noted.len() == before { Ok(()) } else { self.write_note(&noted).await }
    }

    /// Forgets what was written again, or is needed no more.
    pub(super) async fn forget_damage(&self, handled: &BTreeSet<String>) -> Result<(), SnapshotError> {
        if handled.is_empty() {
            return Ok(());
        }
        let left = &self.damaged().await? - handled;
        if !left.is_empty() {
            return self.write_note(&left).await;
        }
        match self.objects.delete(&Path::from(NOTE)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::unavailable(error).into()),
        }
    }

    async fn write_note(&self, noted: &BTreeSet<String>) -> Result<(), SnapshotError> {
        let document = serde_json::to_vec(noted).map_err(|error| SnapshotError::Inconsistent(error.to_string()))?;
        self.write_document(&Path::from(NOTE), &document).await
    }
}
