//! Proving that a snapshot can be restored, by doing it.

use tfe_core::record::Kind;

use super::{
    Choice, Repository, Restored, SnapshotError, SnapshotProgress,
    restore::{Objects, restore_with},
};
use crate::migrate::Place;

/// What a restore would give: restores into scratch space, whose store keeps every reference and uniqueness, and reads every blob to its end, compared with
/// the digest in its record. Only the scratch records are written; the caller looks at them further and drops them. The newest
/// snapshot must be good itself: none is passed over.
pub async fn verify(
    repository: &Repository,
    scratch: &Place,
    kinds: &[&'static Kind],
    choice: &Choice,
    progress: SnapshotProgress<'_>,
) -> Result<Restored, SnapshotError> {
    let restored = restore_with(repository, scratch, kinds, choice, Objects::Checked, progress).await?;
    match restored.passed_over.first() {
        None => Ok(restored),
        Some((id, why)) => Err(super::Damage::one(format!("snapshots/{id}"), why.clone()).into()),
    }
}
