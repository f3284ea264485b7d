//! Bringing in what was committed after a snapshot.

use std::collections::HashMap;

use tfe_core::{record::Kind, time::Timestamp};

use super::{
    JournalPosition, Repository, SnapshotError, SnapshotProgress, Step,
    journal::{Change, Commit},
    restore::Objects,
    target,
};
use crate::{
    Batch, BlobError, Error, StoredRecord, Write,
    blobs::{Checked, SealedBlob},
    migrate::{Place, is_moved},
};

/// Writes in one commit.
const BATCH: usize = 500;

/// How far a journal led.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) commits: u64,
    pub(super) reached: Option<Timestamp>,
    /// Why it was not followed to its end.
    pub(super) cut: Option<String>,
}

/// Follows a journal from a position, to its end or to a time. What is damaged or missing ends it there: everything before
/// is still one moment of the installation.
pub(super) async fn replay(
    repository: &Repository,
    place: &Place,
    kinds: &[&'static Kind],
    position: &JournalPosition,
    until: Option<Timestamp>,
    objects: Objects,
    progress: SnapshotProgress<'_>,
) -> Result<Replayed, SnapshotError> {
    let mut replayed = Replayed::default();
    let mut next = position.next;
    let mut writer = Writer { place, kinds, versions: HashMap::new(), batch: Vec::new() };
    for stored in repository.segments(Some(&position.stream)).await?.iter().filter(|stored| stored.last >= position.next) {
        if stored.first > next {
            replayed.cut = Some(format!("the commits {next} to {} are not in the repository", stored.first - 1));
            break;
        }
        let segment = match repository.read_segment(stored).await {
            Ok(Some(segment)) => segment,
            Ok(None) => break,
            Err(error @ (SnapshotError::Damaged(_) | SnapshotError::Inconsistent(_))) => {
                replayed.cut = Some(error.to_string());
                break;
            }
            Err(error) => return Err(error),
        };
        for commit in segment.commits.into_iter().filter(|commit| commit.number >= position.next) {
            if until.is_some_and(|until| commit.at > until) {
                writer.flush().await?;
                return Ok(replayed);
            }
            if let Some(reason) = bring_blobs(repository, place, &commit, objects).await? {
                writer.flush().await?;
                return Ok(Replayed { cut: Some(reason), ..replayed });
            }
            (replayed.reached, next) = (Some(commit.at), commit.number + 1);
            replayed.commits += 1;
            writer.apply(commit).await?;
            progress(Step::Journal, replayed.commits);
        }
    }
    writer.flush().await?;
    Ok(replayed)
}

/// Copies or looks at the objects of new blobs. Gives a reason if one is not there as it was.
async fn bring_blobs(repository: &Repository, place: &Place, commit: &Commit, objects: Objects) -> Result<Option<String>, SnapshotError> {
    for change in &commit.changes {
        let Change::Put { kind, line } = change else { continue };
        let Some((blob, key)) = line.blob(kind).transpose()? else { continue };
        let sealed = SealedBlob { objects: repository.objects.clone(), blob, key };
        let brought = match objects {
            Objects::Copied => sealed.copy_to(&*place.objects).await,
            Objects::Checked => sealed.check(Checked::Digest).await,
        };
        match brought {
            Ok(()) => {}
            Err(BlobError::Tampered(id) | BlobError::NotFound(id)) => {
                return Ok(Some(format!("{} was changed, cut or lost", crate::blobs::object_path(&id))));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Gathers writes, and knows which version each has.
struct Writer<'a> {
    place: &'a Place,
    kinds: &'a [&'static Kind],
    /// Versions of what the gathered writes leave; none for what they delete.
    versions: HashMap<(&'static str, String), Option<u64>>,
    batch: Vec<Write>,
}

impl Writer<'_> {
    async fn apply(&mut self, commit: Commit) -> Result<(), SnapshotError> {
        for change in commit.changes {
            self.add(change).await?;
        }
        if self.batch.len() >= BATCH { self.flush().await } else { Ok(()) }
    }

    async fn add(&mut self, change: Change) -> Result<(), SnapshotError> {
        match change {
            Change::Put { kind, line } => {
                let Some(kind) = self.kind(&kind)? else { return Ok(()) };
                let record = target::unfinished(kind, line.sealed(&*self.place.vault, kind).await?);
                let version = self.version(kind, &record.id).await?;
                self.versions.insert((kind.name, record.id.clone()), Some(version.map_or(crate::FIRST_VERSION, |version| version + 1)));
                self.batch.push(match version {
                    None => Write::Insert(kind, record),
                    Some(version) => Write::Update(kind, StoredRecord { version, ..record }),
                });
            }
            Change::Delete { kind, id } => {
                let Some(kind) = self.kind(&kind)? else { return Ok(()) };
                let Some(version) = self.version(kind, &id).await? else { return Ok(()) };
                self.batch.push(Write::Delete { kind, id, version });
                // What referred to it went too, so that no version is known any more.
                self.flush().await?;
            }
        }
        Ok(())
    }

    fn kind(&self, name: &str) -> Result<Option<&'static Kind>, SnapshotError> {
        let known = self.kinds.iter().copied().find(|kind| kind.name == name);
        let known = known.ok_or_else(|| Error::Incompatible(format!("its journal holds {name}, which this program does not know")))?;
        Ok(Some(known).filter(|kind| is_moved(kind)))
    }

    async fn version(&self, kind: &'static Kind, id: &str) -> Result<Option<u64>, SnapshotError> {
        match self.versions.get(&(kind.name, id.to_owned())) {
            Some(version) => Ok(*version),
            None => Ok(self.place.store.get(kind, id).await?.map(|record| record.version)),
        }
    }

    async fn flush(&mut self) -> Result<(), SnapshotError> {
        let mut batch = Batch::new();
        batch.extend(self.batch.drain(..));
        self.versions.clear();
        if batch.is_empty() { Ok(()) } else { Ok(self.place.store.commit(batch).await?) }
    }
}
