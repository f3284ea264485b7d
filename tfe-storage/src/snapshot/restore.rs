//! Restoring a snapshot, and what was committed after it.

use std::sync::{Arc, Mutex, PoisonError};

use tfe_core::{
    blob::{BLOBS, Blob},
    cipher::Key,
    record::Kind,
    time::Timestamp,
};

use super::{
    Damage, Manifest, Part, Repository, SnapshotError, SnapshotProgress, Step,
    lines::{self, Line},
    replay, target,
    tasks::Tasks,
};
use crate::{
    BlobError,
    blobs::{Checked, SealedBlob},
    migrate::{Place, is_moved, ordered},
};

/// How many older snapshots are looked at for one with a journal: more than anybody takes by hand between two of a schedule.
const MAX_LOOKED_AT: usize = 100;

/// Which moment to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The newest that is whole, with what was committed after it.
    Newest,
    /// What there was at that time, to the last commit before it.
    At(Timestamp),
    /// That snapshot alone.
    Snapshot(String),
}

/// What was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The snapshot.
    pub snapshot: Manifest,
    /// The moment that was reached: that of the last commit that is in it.
    pub reached: Timestamp,
    /// How many records the snapshot has.
    pub records: u64,
    /// How many blobs were copied or looked at.
    pub blobs: u64,
    /// How many commits of the journal followed.
    pub commits: u64,
    /// Snapshots that were not good, newest first, with what is wrong with them.
    pub passed_over: Vec<(String, String)>,
    /// Why the journal was not followed to its end.
    pub journal_cut: Option<String>,
    /// The configuration that the snapshot holds.
    pub configuration: Option<Vec<u8>>,
}

/// What happens to the objects of blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objects {
    Copied,
    Checked,
}

/// Restores to an empty place, or one where an earlier restore was stopped. What comes out is marked as unfinished until
/// [`finish`](super::finish), so that whoever calls this can settle first what must not go on as if nothing had happened.
/// A snapshot that is not whole is passed over for the next older one, unless it was chosen by its id.
pub async fn restore(
    repository: &Repository,
    place: &Place,
    kinds: &[&'static Kind],
    choice: &Choice,
    progress: SnapshotProgress<'_>,
) -> Result<Restored, SnapshotError> {
    restore_with(repository, place, kinds, choice, Objects::Copied, progress).await
}

pub(super) async fn restore_with(
    repository: &Repository,
    place: &Place,
    kinds: &[&'static Kind],
    choice: &Choice,
    objects: Objects,
    progress: SnapshotProgress<'_>,
) -> Result<Restored, SnapshotError> {
    target::clear(place, kinds).await?;
    let ids = match choice {
        Choice::Snapshot(id) => vec![id.clone()],
        _ => repository.ids().await?,
    };
    let passed_over = match choice {
        Choice::Newest => repository.missing_newest(&ids).await?.into_iter().collect(),
        Choice::At(_) | Choice::Snapshot(_) => Vec::new(),
    };
    let mut restoring = Restoring { repository, place, kinds, choice, objects, passed_over };
    for (number, id) in ids.iter().enumerate() {
        if let Some((longer, reached)) = restoring.longer(id, &ids[number + 1..]).await?
            && let Some(restored) = restoring.candidate(&longer, Some(reached), progress).await?
        {
            return Ok(restored);
        }
        if let Some(restored) = restoring.candidate(id, None, progress).await? {
            return Ok(restored);
        }
    }
    let passed_over = restoring.passed_over;
    if passed_over.is_empty() {
        let none = || SnapshotError::NoSnapshot("that is old enough".to_owned());
        return Err(if *choice == Choice::Newest { SnapshotError::NoRepository } else { none() });
    }
    let parts = passed_over.into_iter().map(|(id, why)| (format!("snapshots/{id}"), why)).collect();
    Err(Damage { parts }.into())
}

/// A restore that looks for a snapshot that is good.
struct Restoring<'a> {
    repository: &'a Repository,
    place: &'a Place,
    kinds: &'a [&'static Kind],
    choice: &'a Choice,
    objects: Objects,
    passed_over: Vec<(String, String)>,
}

impl Restoring<'_> {
    /// The newest of `older` whose journal leads on beyond a snapshot that has none, as one that was taken by hand beside a server,
    /// and the moment of the latter.
    async fn longer(&self, id: &str, older: &[String]) -> Result<Option<(String, Timestamp)>, SnapshotError> {
        let Ok(manifest) = self.repository.manifest(id).await else { return Ok(None) };
        let is_chosen = match self.choice {
            Choice::Newest => true,
            Choice::At(time) => manifest.created_at <= *time,
            Choice::Snapshot(_) => false,
        };
        if manifest.journal.is_some() || !is_chosen {
            return Ok(None);
        }
        for id in older.iter().take(MAX_LOOKED_AT) {
            let Ok(older) = self.repository.manifest(id).await else { continue };
            if let Some(position) = older.journal.filter(|_| older.identity == manifest.identity) {
                let reach = self.repository.reach(&position).await?;
                return Ok(reach.filter(|reach| *reach > manifest.created_at).map(|_| (older.id, manifest.created_at)));
            }
        }
        Ok(None)
    }

    /// Restores a snapshot. None if it is too new, or is passed over: since it is not good, or its journal ends before a moment that
    /// another one shows.
    async fn candidate(
        &mut self,
        id: &str,
        at_least: Option<Timestamp>,
        progress: SnapshotProgress<'_>,
    ) -> Result<Option<Restored>, SnapshotError> {
        let attempted = attempt(self.repository, self.place, self.kinds, (id, self.choice), self.objects, progress).await;
        if let Err(SnapshotError::Damaged(damage)) = &attempted {
            self.repository.note_damage(damage).await;
        }
        let why = match attempted {
            Ok(None) => return Ok(None),
            Ok(Some(restored)) => match &restored.journal_cut {
                Some(cut) if at_least.is_some_and(|moment| restored.reached < moment) => cut.clone(),
                _ => return Ok(Some(Restored { passed_over: std::mem::take(&mut self.passed_over), ..restored })),
            },
            Err(error @ (SnapshotError::Damaged(_) | SnapshotError::Inconsistent(_) | SnapshotError::NoSnapshot(_)))
                if !matches!(self.choice, Choice::Snapshot(_)) =>
            {
                error.to_string()
            }
            Err(error) => return Err(error),
        };
        self.passed_over.push((id.to_owned(), why));
        target::clear(self.place, self.kinds).await?;
        Ok(None)
    }
}

/// None if the snapshot is too new.
async fn attempt(
    repository: &Repository,
    place: &Place,
    kinds: &[&'static Kind],
    (id, choice): (&str, &Choice),
    objects: Objects,
    progress: SnapshotProgress<'_>,
) -> Result<Option<Restored>, SnapshotError> {
    let manifest = repository.manifest(id).await?;
    let until = match choice {
        Choice::At(time) if manifest.created_at > *time => return Ok(None),
        Choice::At(time) => Some(*time),
        Choice::Newest | Choice::Snapshot(_) => None,
    };
    if !manifest.has_installation() {
        return Err(SnapshotError::Inconsistent("it holds no installation".to_owned()));
    }
    known_kinds(&manifest, kinds)?;
    let (blobs, configuration) = read_all(repository, &manifest, progress).await?;
    bring_blobs(repository, place, &manifest, blobs, objects, progress).await?;
    let mut restored = Restored {
        reached: manifest.created_at,
        records: bring_records(repository, place, &manifest, kinds, progress).await?,
        blobs: manifest.blobs,
        commits: 0,
        passed_over: Vec::new(),
        journal_cut: None,
        configuration,
        snapshot: manifest,
    };
    if let Some(position) = restored.snapshot.journal.clone().filter(|_| !matches!(choice, Choice::Snapshot(_))) {
        let replayed = replay::replay(repository, place, kinds, &position, until, objects, progress).await?;
        (restored.commits, restored.journal_cut) = (replayed.commits, replayed.cut);
        restored.reached = replayed.reached.unwrap_or(restored.reached);
    }
    Ok(Some(restored))
}

/// A kind that this program does not know would be lost.
fn known_kinds(manifest: &Manifest, kinds: &[&'static Kind]) -> Result<(), SnapshotError> {
    match manifest.parts.iter().find(|part| !kinds.iter().any(|kind| kind.name == part.kind)) {
        None => Ok(()),
        Some(part) => Err(SnapshotError::Store(crate::Error::Incompatible(format!(
            "it holds {}, which this program does not know; use version {} or newer",
            part.kind, manifest.program
        )))),
    }
}

/// What was read of a snapshot before anything is written: its blobs, and the configuration if it holds one.
type Contents = (Vec<(Blob, Key)>, Option<Vec<u8>>);

/// Reads all parts and the configuration, so that a damaged one is found before anything is written.
async fn read_all(repository: &Repository, manifest: &Manifest, progress: SnapshotProgress<'_>) -> Result<Contents, SnapshotError> {
    let (mut blobs, mut damage, mut seen) = (Vec::new(), Damage::default(), 0);
    for part in &manifest.parts {
        let lines = damage.unless_damaged(read_part(repository, part).await)?.unwrap_or_default();
        seen += lines.len() as u64;
        for line in lines {
            blobs.extend(line.blob(&part.kind).transpose()?);
        }
        progress(Step::Verification, seen);
    }
    let configuration = match &manifest.configuration {
        Some(chunk) => damage.unless_damaged(repository.read_chunk(chunk, || "the configuration".to_owned()).await)?,
        None => None,
    };
    if damage.parts.is_empty() { Ok((blobs, configuration)) } else { Err(damage.into()) }
}

async fn read_part(repository: &Repository, part: &Part) -> Result<Vec<Line>, SnapshotError> {
    let lines = lines::read(&repository.read_chunk(&part.chunk, || part.contents()).await?)?;
    let is_whole = lines.len() as u64 == part.count && lines.first().is_some_and(|line| line.id == part.first);
    if is_whole { Ok(lines) } else { Err(SnapshotError::Inconsistent(part.contents())) }
}

/// Copies blobs, or looks at them, and says which are damaged.
async fn bring_blobs(
    repository: &Repository,
    place: &Place,
    manifest: &Manifest,
    blobs: Vec<(Blob, Key)>,
    objects: Objects,
    progress: SnapshotProgress<'_>,
) -> Result<(), SnapshotError> {
    let damaged: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut tasks = Tasks::new();
    for (number, (blob, key)) in (1..).zip(blobs) {
        let sealed = SealedBlob { objects: repository.objects.clone(), blob, key };
        let (target, note) = (place.objects.clone(), damaged.clone());
        tasks
            .start(async move {
                let brought = match objects {
                    Objects::Copied => sealed.copy_to(&*target).await,
                    Objects::Checked => sealed.check(Checked::Digest).await,
                };
                match brought {
                    Err(BlobError::Tampered(id) | BlobError::NotFound(id)) => {
                        note.lock().unwrap_or_else(PoisonError::into_inner).push(id.to_string());
                        Ok(())
                    }
                    brought => Ok::<_, SnapshotError>(brought?),
                }
            })
            .await?;
        progress(Step::Blobs, number);
    }
    tasks.finish().await?;
    let damaged = std::mem::take(&mut *damaged.lock().unwrap_or_else(PoisonError::into_inner));
    if damaged.is_empty() { Ok(()) } else { Err(named(repository, manifest, &damaged).await?.into()) }
}

/// The damaged blobs, with the records that refer to them.
async fn named(repository: &Repository, manifest: &Manifest, damaged: &[String]) -> Result<Damage, SnapshotError> {
    let mut users = vec![Vec::new(); damaged.len()];
    for part in manifest.parts.iter().filter(|part| part.kind != BLOBS.name) {
        for line in read_part(repository, part).await? {
            let body = line.body.to_string();
            for (id, users) in damaged.iter().zip(&mut users) {
                if body.contains(&format!("\"{id}\"")) {
                    users.push(format!("{} {}", part.kind, line.id));
                }
            }
        }
    }
    let path = |id: &String| crate::blobs::object_path(&id.as_str().into()).to_string();
    let parts = damaged.iter().zip(users).map(|(id, users)| (path(id), format!("content of {}", users.join(", ")))).collect();
    Ok(Damage { parts })
}

async fn bring_records(
    repository: &Repository,
    place: &Place,
    manifest: &Manifest,
    kinds: &[&'static Kind],
    progress: SnapshotProgress<'_>,
) -> Result<u64, SnapshotError> {
    let mut done = 0;
    for kind in ordered(kinds).into_iter().filter(|kind| is_moved(kind)) {
        let mut waiting = Vec::new();
        for part in manifest.parts.iter().filter(|part| part.kind == kind.name) {
            let lines = read_part(repository, part).await?;
            done += lines.len() as u64;
            waiting.extend(target::insert(place, kind, lines).await?);
            progress(Step::Records, done);
        }
        target::settle(place, kind, waiting).await?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use tfe_core::{
        installation::{INSTALLATIONS, Installation},
        record::Record,
        time::Clock,
    };

    use super::*;
    use crate::{
        Batch, MemoryStore, MemoryVault, StoreExt,
        snapshot::{CreateOptions, RepositorySecret, create, list},
    };

    #[derive(Debug)]
    struct At(i64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0)
        }
    }

    fn empty() -> Place {
        Place { store: Arc::new(MemoryStore::new()), objects: Arc::new(InMemory::new()), vault: Arc::new(MemoryVault::new().unwrap()) }
    }

    #[tokio::test]
    async fn a_snapshot_without_an_installation_is_passed_over() {
        let (place, kinds) = (empty(), [&INSTALLATIONS]);
        let id = Installation::only_id();
        let signing_key = place.vault.seal(&Installation::SIGNING_KEY.context(&id), b"key").await.unwrap();
        let created_at = Timestamp::default();
        let installation = Installation { id, created_at, name: "this".to_owned(), signing_key, unfinished: false, restoration: None };
        place.store.commit(Batch::new().insert(&installation)).await.unwrap();
        let secret = RepositorySecret::Vault(place.vault.clone());
        let repository = Repository::open_or_create(Arc::new(InMemory::new()), &secret).await.unwrap();
        let options = CreateOptions { clock: &At(1_000), program: "test", configuration: None, takes_over: false };
        let good = create(&repository, &place, &kinds, &options, &mut |_, _| {}).await.unwrap();
        // As older programs made them where there was nothing.
        let bare = Manifest { id: format!("{}-later", good.id), parts: Vec::new(), identity: None, ..good.clone() };
        repository.write_document(&list::path(&bare.id), &serde_json::to_vec(&bare).unwrap()).await.unwrap();
        repository.note_newest(&bare.id).await.unwrap();
        let target = empty();
        let restored = restore(&repository, &target, &kinds, &Choice::Newest, &mut |_, _| {}).await.unwrap();
        assert_eq!(restored.snapshot.id, good.id);
        assert_eq!(
            restored.passed_over,
            [(bare.id, "the records of the snapshot do not fit together: it holds no installation".to_owned())]
        );
        assert!(target.store.find::<Installation>(installation.key()).await.unwrap().is_some());
    }
}
