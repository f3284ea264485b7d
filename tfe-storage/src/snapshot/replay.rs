//! Bringing in what was committed after a snapshot.

use std::collections::{BTreeMap, HashMap};

use tfe_core::{blob::BLOBS, record::Kind, time::Timestamp};

use super::{
    Damage, JournalPosition, Repository, SnapshotError, SnapshotProgress, Step,
    commits::Commits,
    journal::{Change, Commit},
    journaled::MAX_WAITING,
    lines::Line,
    restore::Objects,
    target,
};
use crate::{
    Batch, BlobError, Error, FIRST_VERSION, StoredRecord, Write,
    blobs::{Checked, SealedBlob, object_path},
    migrate::{Place, is_moved},
};

/// Writes in one commit.
const BATCH: usize = 500;

/// Most writes that wait for a blob to be deleted: a deletion that overtook the shipper was in its queue.
const MAX_HELD: usize = MAX_WAITING;

/// How far a journal led.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) commits: u64,
    pub(super) reached: Option<Timestamp>,
    /// Why it was not followed to its end.
    pub(super) cut: Option<String>,
}

/// Follows a journal from a position, to its end or to a time. What is damaged or missing, or does not fit to what came before it,
/// ends it there: everything before is still one moment of the installation.
pub(super) async fn replay(
    repository: &Repository,
    place: &Place,
    kinds: &[&'static Kind],
    position: &JournalPosition,
    until: Option<Timestamp>,
    objects: Objects,
    progress: SnapshotProgress<'_>,
) -> Result<Replayed, SnapshotError> {
    let mut writer = Writer { place, kinds, waiting: Vec::new(), writes: 0, replayed: Replayed::default() };
    let mut commits = Commits::after(repository, position).await?;
    let followed = follow(repository, &mut commits, &mut writer, until, objects, progress).await;
    // Whatever ended it, what was read before counts.
    let written = writer.flush().await;
    if let Err(SnapshotError::Damaged(damage)) = &followed {
        repository.note_damage(damage).await;
    }
    let mut replayed = writer.replayed;
    for ended in [written, followed] {
        match ended {
            Ok(()) => {}
            Err(error) if is_of_the_journal(&error) => replayed.cut = replayed.cut.or_else(|| Some(error.to_string())),
            Err(error) => return Err(error),
        }
    }
    Ok(replayed)
}

/// Reads and writes up to the last commit of which nothing is missing.
async fn follow(
    repository: &Repository,
    commits: &mut Commits,
    writer: &mut Writer<'_>,
    until: Option<Timestamp>,
    objects: Objects,
    progress: SnapshotProgress<'_>,
) -> Result<(), SnapshotError> {
    let (mut read, mut held) = (0, Held::default());
    let ended = loop {
        let commit = match commits.next().await {
            Ok(Some(commit)) if until.is_none_or(|until| commit.at <= until) => commit,
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        };
        held.gone.extend(bring_blobs(repository, writer.place, &commit, objects).await?);
        held.add(commit);
        if held.gone.is_empty() {
            for commit in held.release() {
                writer.add(commit).await?;
            }
        } else if held.writes > MAX_HELD {
            break Ok(());
        }
        read += 1;
        progress(Step::Journal, read);
    };
    match ended {
        Err(error) if !is_of_the_journal(&error) => Err(error),
        // That comes first.
        _ if !held.gone.is_empty() => Err(Damage { parts: held.gone.into_iter().collect() }.into()),
        ended => ended,
    }
}

impl Held {
    fn add(&mut self, commit: Commit) {
        for change in &commit.changes {
            if let Change::Delete { kind, id } = change
                && kind == BLOBS.name
            {
                self.gone.remove(object_path(&id.as_str().into()).as_ref());
            }
        }
        self.writes += commit.changes.len();
        self.commits.push(commit);
    }

    fn release(&mut self) -> Vec<Commit> {
        self.writes = 0;
        std::mem::take(&mut self.commits)
    }
}

/// Whether what was read is wrong, and not the place that it is brought to.
fn is_of_the_journal(error: &SnapshotError) -> bool {
    use Error::{AlreadyExists, Conflict, Dangling, Invalid, NotFound};
    match error {
        SnapshotError::Damaged(_) | SnapshotError::Inconsistent(_) => true,
        SnapshotError::Store(error) => {
            matches!(error, AlreadyExists { .. } | Conflict { .. } | Dangling { .. } | Invalid { .. } | NotFound { .. })
        }
        _ => false,
    }
}

/// Copies or looks at the objects of new blobs. Gives the paths of those that are not there as they were, and what they hold.
async fn bring_blobs(
    repository: &Repository,
    place: &Place,
    commit: &Commit,
    objects: Objects,
) -> Result<Vec<(String, String)>, SnapshotError> {
    let mut gone = Vec::new();
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
                gone.push((object_path(&id).to_string(), format!("what was committed at {}", commit.at)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(gone)
}

/// Commits that are not written yet: between two of them there is a blob whose object is not in the repository, since it was
/// replaced before it could be shipped. Once it is deleted, what there is needs it no more.
#[derive(Debug, Default)]
struct Held {
    commits: Vec<Commit>,
    writes: usize,
    /// Paths of objects that are not there, and what they held.
    gone: BTreeMap<String, String>,
}

/// Versions of what gathered writes leave; none for what they delete.
type Versions = HashMap<(&'static str, String), Option<u64>>;

/// Gathers commits and writes them.
struct Writer<'a> {
    place: &'a Place,
    kinds: &'a [&'static Kind],
    waiting: Vec<Commit>,
    writes: usize,
    /// What was written.
    replayed: Replayed,
}

impl Writer<'_> {
    async fn add(&mut self, commit: Commit) -> Result<(), SnapshotError> {
        self.writes += commit.changes.len();
        self.waiting.push(commit);
        if self.writes >= BATCH { self.flush().await } else { Ok(()) }
    }

    /// Writes all that waits at once, or if that is refused up to the commit that cannot be.
    async fn flush(&mut self) -> Result<(), SnapshotError> {
        let commits = std::mem::take(&mut self.waiting);
        self.writes = 0;
        match self.write(&commits).await {
            Err(error) if is_of_the_journal(&error) && commits.len() > 1 => {
                for commit in commits.chunks(1) {
                    self.write(commit).await?;
                }
                Ok(())
            }
            written => written,
        }
    }

    /// Writes commits as one.
    async fn write(&mut self, commits: &[Commit]) -> Result<(), SnapshotError> {
        let (mut batch, mut versions) = (Batch::new(), Versions::new());
        for change in commits.iter().flat_map(|commit| &commit.changes) {
            batch.extend(self.write_of(change, &mut versions).await?);
        }
        if !batch.is_empty() {
            self.place.store.commit(batch).await?;
        }
        self.replayed.commits += commits.len() as u64;
        self.replayed.reached = commits.last().map(|commit| commit.at).or(self.replayed.reached);
        Ok(())
    }

    async fn write_of(&self, change: &Change, versions: &mut Versions) -> Result<Option<Write>, SnapshotError> {
        let (Change::Put { kind, .. } | Change::Delete { kind, .. }) = change;
        let Some(kind) = self.kind(kind)? else { return Ok(None) };
        let (Change::Put { line: Line { id, .. }, .. } | Change::Delete { id, .. }) = change;
        let version = match versions.get(&(kind.name, id.clone())) {
            Some(version) => *version,
            None => self.place.store.get(kind, id).await?.map(|record| record.version),
        };
        let (write, left) = match (change, version) {
            (Change::Delete { .. }, None) => return Ok(None),
            (Change::Delete { .. }, Some(version)) => (Write::Delete { kind, id: id.clone(), version }, None),
            (Change::Put { line, .. }, version) => {
                let record = target::unfinished(kind, line.clone().sealed(&*self.place.vault, kind).await?);
                match version {
                    None => (Write::Insert(kind, record), Some(FIRST_VERSION)),
                    Some(version) => (Write::Update(kind, StoredRecord { version, ..record }), Some(version + 1)),
                }
            }
        };
        versions.insert((kind.name, id.clone()), left);
        Ok(Some(write))
    }

    fn kind(&self, name: &str) -> Result<Option<&'static Kind>, SnapshotError> {
        let known = self.kinds.iter().copied().find(|kind| kind.name == name);
        let known = known.ok_or_else(|| Error::Incompatible(format!("its journal holds {name}, which this program does not know")))?;
        Ok(Some(known).filter(|kind| is_moved(kind)))
    }
}
