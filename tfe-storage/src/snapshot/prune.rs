//! Removing snapshots that are not kept any more, and what only they needed.

use std::collections::{BTreeMap, HashSet};

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tfe_core::{blob::BLOBS, time::Timestamp};

use super::{
    Manifest, Repository, SnapshotError,
    journal::{Change, Stored},
    lines, list,
    marks::{Mark, Work},
    repository::RECORDS,
};
use crate::{
    BlobError,
    blobs::{DIRECTORY, object_path},
};

/// How old an object must be: what a shipper wrote a moment ago may be named by no segment yet.
const GRACE_MILLIS: i64 = 60 * 60 * 1000;
/// How long a journal is kept that no snapshot leads to: that of a process whose first snapshot is still being made.
const JOURNAL_GRACE_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of removed snapshots.
    pub snapshots: Vec<String>,
    /// How many objects only they needed.
    pub objects: u64,
    /// Snapshots whose manifests cannot be read. As long as there are some, no objects are removed: they may need them.
    pub unreadable: Vec<String>,
}

/// Removes the snapshots that `keep` does not name, given id and time of all, newest first. The newest is always kept.
/// Stopped at any point, it leaves every kept snapshot whole.
pub async fn prune(
    repository: &Repository,
    now: Timestamp,
    keep: impl FnOnce(&[(String, Timestamp)]) -> HashSet<String> + Send,
) -> Result<Pruned, SnapshotError> {
    let mark = Mark::leave(&repository.objects, Work::Prune).await?;
    let pruned = match Mark::others(&*repository.objects, Work::Create, now.as_millis()).await {
        Ok(false) => marked(repository, now, keep).await,
        Ok(true) => Err(SnapshotError::Busy("a snapshot is being made")),
        Err(error) => Err(error),
    };
    mark.lift().await;
    pruned
}

async fn marked(
    repository: &Repository,
    now: Timestamp,
    keep: impl FnOnce(&[(String, Timestamp)]) -> HashSet<String> + Send,
) -> Result<Pruned, SnapshotError> {
    let mut pruned = Pruned::default();
    let mut manifests = Vec::new();
    for listed in repository.list().await? {
        match listed.manifest {
            Ok(manifest) => manifests.push(manifest),
            Err(SnapshotError::Damaged(_) | SnapshotError::Inconsistent(_)) => pruned.unreadable.push(listed.id),
            Err(error) => return Err(error),
        }
    }
    let all: Vec<_> = manifests.iter().map(|manifest| (manifest.id.clone(), manifest.created_at)).collect();
    let mut kept = keep(&all);
    kept.extend(all.first().map(|(id, _)| id.clone()));
    let (kept, gone): (Vec<_>, Vec<_>) = manifests.into_iter().partition(|manifest| kept.contains(&manifest.id));
    for manifest in gone {
        delete(repository, &list::path(&manifest.id)).await?;
        pruned.snapshots.push(manifest.id);
    }
    if pruned.unreadable.is_empty() {
        pruned.objects = sweep(repository, now, &kept).await?;
    }
    Ok(pruned)
}

/// Removes what no kept snapshot and no kept journal refers to.
async fn sweep(repository: &Repository, now: Timestamp, kept: &[Manifest]) -> Result<u64, SnapshotError> {
    let (journals, stale) = journals(repository, now, kept).await?;
    let mut reachable = HashSet::new();
    for manifest in kept {
        reachable.extend(manifest.configuration.iter().map(super::manifest::Chunk::path));
        for part in &manifest.parts {
            reachable.insert(part.chunk.path());
            if part.kind == BLOBS.name {
                let lines = lines::read(&repository.read_chunk(&part.chunk, || part.contents()).await?)?;
                reachable.extend(lines.iter().map(|line| object_path(&line.id.as_str().into())));
            }
        }
    }
    for stored in &journals {
        let Some(segment) = repository.read_segment(stored).await? else { continue };
        for change in segment.commits.into_iter().flat_map(|commit| commit.changes) {
            if let Change::Put { kind, line } = change
                && kind == BLOBS.name
            {
                reachable.insert(object_path(&line.id.as_str().into()));
            }
        }
    }
    let mut removed = 0;
    for directory in [RECORDS, DIRECTORY] {
        let found: Vec<_> = repository.objects.list(Some(&Path::from(directory))).try_collect().await.map_err(BlobError::unavailable)?;
        let is_old = |object: &object_store::ObjectMeta| now.as_millis() - object.last_modified.timestamp_millis() > GRACE_MILLIS;
        for object in found.iter().filter(|object| is_old(object) && !reachable.contains(&object.location)) {
            delete(repository, &object.location).await?;
            removed += 1;
        }
    }
    for stored in stale {
        delete(repository, &stored.path).await?;
        removed += 1;
    }
    Ok(removed)
}

/// Segments that a kept snapshot leads to or may yet lead to, and those that none ever will.
async fn journals(repository: &Repository, now: Timestamp, kept: &[Manifest]) -> Result<(Vec<Stored>, Vec<Stored>), SnapshotError> {
    let mut from = BTreeMap::<&str, u64>::new();
    for position in kept.iter().filter_map(|manifest| manifest.journal.as_ref()) {
        from.entry(&position.stream).and_modify(|next| *next = position.next.min(*next)).or_insert(position.next);
    }
    let is_needed = |stored: &Stored| match from.get(stored.stream.as_str()) {
        Some(next) => stored.last >= *next,
        None => now.as_millis() - stored.written_millis < JOURNAL_GRACE_MILLIS,
    };
    Ok(repository.segments(None).await?.into_iter().partition(is_needed))
}

async fn delete(repository: &Repository, path: &Path) -> Result<(), SnapshotError> {
    match repository.objects.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(BlobError::unavailable(error).into()),
    }
}
