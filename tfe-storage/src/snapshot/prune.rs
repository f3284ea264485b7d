//! Removing snapshots that are not kept any more, and what only they needed.

use std::collections::{BTreeMap, HashSet};

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tfe_core::{blob::BLOBS, time::Timestamp};

use super::{
    Manifest, Repository, SnapshotError,
    journal::{Stored, TIPS},
    lines, list,
    manifest::Chunk,
    marks::{Mark, Work},
    repository::RECORDS,
};
use crate::{
    BlobError,
    blobs::{DIRECTORY, object_path},
};

/// How old an object must be: what a shipper wrote a moment ago may be named by no segment yet.
const GRACE_MILLIS: i64 = 60 * 60 * 1000;
/// For how long there is a way to every moment: as long as the snapshots of each hour are kept by default. Also how long a journal is
/// kept that no snapshot leads to, as that of a process whose first one is still being made.
const JOURNAL_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of removed snapshots.
    pub snapshots: Vec<String>,
    /// How many objects only they needed.
    pub objects: u64,
    /// Snapshots that cannot be read. As long as there are some, no objects are removed that they may need.
    pub unreadable: Vec<String>,
}

/// Removes the snapshots that `keep` does not name, given id and time of all, newest first. The newest is always kept, and the newest
/// that a journal leads on from. Of journals stays what leads to the moments of the last day, and on from the newest two.
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
    let segments = repository.segments(None).await?;
    let all: Vec<_> = manifests.iter().map(|manifest| (manifest.id.clone(), manifest.created_at)).collect();
    let mut kept = keep(&all);
    let newest = manifests.iter().find(|manifest| manifest.has_installation());
    kept.extend([newest, leading(&manifests, &segments, now)].into_iter().flatten().map(|manifest| manifest.id.clone()));
    let (kept, gone): (Vec<_>, Vec<_>) = manifests.into_iter().partition(|manifest| kept.contains(&manifest.id));
    for manifest in gone {
        delete(repository, &list::path(&manifest.id)).await?;
        pruned.snapshots.push(manifest.id);
    }
    if pruned.unreadable.is_empty() {
        sweep(repository, now, &kept, segments, &mut pruned).await?;
    }
    Ok(pruned)
}

/// The newest snapshot that a journal leads on from, as long as that journal may lead further than the newest snapshot does.
fn leading<'a>(manifests: &'a [Manifest], segments: &[Stored], now: Timestamp) -> Option<&'a Manifest> {
    let newest = manifests.iter().find(|manifest| manifest.has_installation())?;
    let (leading, position) = manifests.iter().find_map(|manifest| Some((manifest, manifest.journal.as_ref()?)))?;
    let is_young = now.as_millis() - leading.created_at.as_millis() < JOURNAL_MILLIS;
    let is_beyond = |stored: &Stored| stored.stream == position.stream && stored.written_millis >= newest.created_at.as_millis();
    (leading.id == newest.id || is_young || segments.iter().any(is_beyond)).then_some(leading)
}

/// Removes what no kept snapshot and no kept journal refers to.
async fn sweep(
    repository: &Repository,
    now: Timestamp,
    kept: &[Manifest],
    segments: Vec<Stored>,
    pruned: &mut Pruned,
) -> Result<(), SnapshotError> {
    let (journals, stale) = journals(now, kept, segments);
    let young = now.as_millis() - GRACE_MILLIS;
    let chunks = kept.iter().flat_map(|manifest| manifest.parts.iter().map(|part| &part.chunk).chain(&manifest.configuration));
    pruned.objects += remove(repository, RECORDS, young, &chunks.map(Chunk::path).collect()).await?;
    let blobs = blobs(repository, kept, &mut pruned.unreadable).await?;
    if pruned.unreadable.is_empty() {
        // The objects that a segment tells of were written just before it, so that no segment needs to be read.
        let young = journals.iter().map(|stored| stored.written_millis - GRACE_MILLIS).fold(young, i64::min);
        pruned.objects += remove(repository, DIRECTORY, young, &blobs).await?;
    }
    for stored in stale {
        delete(repository, &stored.path).await?;
        pruned.objects += 1;
    }
    let streams = journals.iter().map(|stored| &stored.stream);
    let streams = streams.chain(kept.iter().filter_map(|manifest| manifest.journal.as_ref().map(|position| &position.stream)));
    let tips = streams.map(|stream| Path::from_iter([TIPS, stream])).collect();
    pruned.objects += remove(repository, TIPS, now.as_millis() - JOURNAL_MILLIS, &tips).await?;
    Ok(())
}

/// Segments that a restore may follow, and those that none will.
fn journals(now: Timestamp, kept: &[Manifest], segments: Vec<Stored>) -> (Vec<Stored>, Vec<Stored>) {
    let leading = leading(kept, &segments, now).and_then(|manifest| manifest.journal.clone());
    let leads_on = |stored: &Stored| leading.as_ref().is_some_and(|from| from.stream == stored.stream && stored.last >= from.next);
    let since = now.as_millis() - JOURNAL_MILLIS;
    let starts: Vec<_> = kept.iter().filter_map(|manifest| Some((manifest, manifest.journal.as_ref()?))).collect();
    // From all of the last day, from the one that leads into it, and from the one that stands in for a damaged newest.
    let led = starts.iter().position(|(manifest, _)| manifest.created_at.as_millis() <= since).map_or(starts.len(), |place| place + 1);
    let mut from = BTreeMap::<&str, u64>::new();
    for (_, position) in starts.iter().take(led.max(2)) {
        from.entry(&position.stream).and_modify(|next| *next = position.next.min(*next)).or_insert(position.next);
    }
    let is_known = |stored: &Stored| starts.iter().any(|(_, position)| position.stream == stored.stream);
    let is_needed = |stored: &Stored| match from.get(stored.stream.as_str()) {
        Some(next) => stored.last >= *next,
        None => !is_known(stored) && stored.written_millis > since,
    };
    segments.into_iter().partition(|stored| leads_on(stored) || is_needed(stored))
}

/// Paths of the objects of all blobs in snapshots. What cannot be read is added to `unreadable`.
async fn blobs(repository: &Repository, kept: &[Manifest], unreadable: &mut Vec<String>) -> Result<HashSet<Path>, SnapshotError> {
    let (mut blobs, mut seen) = (HashSet::new(), HashSet::new());
    for manifest in kept {
        for part in manifest.parts.iter().filter(|part| part.kind == BLOBS.name) {
            if !seen.insert(part.chunk.path()) {
                continue;
            }
            let read = repository.read_chunk(&part.chunk, || part.contents()).await.and_then(|text| lines::read(&text));
            match read {
                Ok(lines) => blobs.extend(lines.iter().map(|line| object_path(&line.id.as_str().into()))),
                Err(SnapshotError::Damaged(damage)) => {
                    repository.note_damage(&damage).await;
                    unreadable.push(manifest.id.clone());
                }
                Err(SnapshotError::Inconsistent(_)) => unreadable.push(manifest.id.clone()),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(blobs)
}

/// Removes the objects in a directory that are older than a time and that nothing reaches.
async fn remove(repository: &Repository, directory: &str, before_millis: i64, reachable: &HashSet<Path>) -> Result<u64, SnapshotError> {
    let found: Vec<_> = repository.objects.list(Some(&Path::from(directory))).try_collect().await.map_err(BlobError::unavailable)?;
    let is_old = |object: &object_store::ObjectMeta| object.last_modified.timestamp_millis() < before_millis;
    let mut removed = 0;
    for object in found.iter().filter(|object| is_old(object) && !reachable.contains(&object.location)) {
        delete(repository, &object.location).await?;
        removed += 1;
    }
    Ok(removed)
}

async fn delete(repository: &Repository, path: &Path) -> Result<(), SnapshotError> {
    match repository.objects.delete(path).await {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(BlobError::unavailable(error).into()),
    }
}
