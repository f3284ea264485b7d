//! Taking a snapshot.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use sha2::{Digest, Sha256};
use tfe_core::{
    blob::{BLOBS, Blob},
    cipher::Key,
    installation::INSTALLATIONS,
    record::Kind,
    time::{Clock, Timestamp},
};
use tokio::time::Instant;

use super::{
    Manifest, Owner, Part, Repository, SnapshotError, SnapshotProgress, Step,
    lines::{self, Line},
    list,
    manifest::{Chunk, FORMAT, JournalPosition, new_id},
    marks::{Mark, Work},
    repository::RECORDS,
    tasks::Tasks,
};
use crate::{
    BlobError, MAX_PAGE, View,
    blobs::{DIRECTORY, SealedBlob},
    migrate::{Place, is_moved},
};

/// A part of records ends after an id whose digest ends so: one in 256, so that parts have some ten kilobytes and a
/// change moves no other part's ends.
const CUT_MASK: u8 = 0xff;
/// The most records in a part.
const MAX_PART: usize = 4_096;
/// The most bytes in a part, before it is compressed.
const MAX_PART_BYTES: usize = 8 << 20;
/// How often a moment is taken again because something was deleted while its blobs were copied.
const MAX_MOMENTS: u32 = 5;
/// How long to wait for somebody who removes snapshots.
const PRUNE_PATIENCE: Duration = Duration::from_mins(15);
const PRUNE_PAUSE: Duration = Duration::from_secs(1);

/// What a snapshot is told beyond what it shows.
#[derive(Debug)]
pub struct CreateOptions<'a> {
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// The version of the program.
    pub program: &'a str,
    /// The configuration, as the operator wrote it.
    pub configuration: Option<&'a [u8]>,
    /// Whether it is taken even if the newest one is of another installation, or of another life of this one.
    pub takes_over: bool,
}

/// What is in the repository already.
#[derive(Debug)]
struct Known {
    /// Lengths of parts of records and of blobs.
    objects: BTreeMap<Path, u64>,
    /// Data keys of blobs, as lines of the newest snapshot hold them, by id: with a remote vault each takes a while to open.
    keys: HashMap<String, String>,
    /// Paths of objects that are not as they were written, and are written again.
    damaged: BTreeSet<String>,
}

/// All that one moment refers to.
#[derive(Debug, Default)]
struct Taken {
    parts: Vec<Part>,
    records: u64,
    owner: Option<Owner>,
    blobs: Vec<(Blob, Key)>,
    journal: Option<JournalPosition>,
}

/// Takes a snapshot of an installation at work, and gives its manifest. It shows one moment: that of the call, or a
/// little later when something was deleted meanwhile. What the repository has already is not written again. Refused where there is
/// no complete installation, and where the repository is somebody else's.
pub async fn create(
    repository: &Repository,
    place: &Place,
    kinds: &[&'static Kind],
    options: &CreateOptions<'_>,
    progress: SnapshotProgress<'_>,
) -> Result<Manifest, SnapshotError> {
    let owner = Owner::of(&*place.store).await?;
    if !options.takes_over {
        repository.claim(&owner).await?;
    }
    let mark = Mark::leave(&repository.objects, Work::Create).await?;
    let created = marked(repository, place, kinds, options, progress).await;
    mark.lift().await;
    created
}

async fn marked(
    repository: &Repository,
    place: &Place,
    kinds: &[&'static Kind],
    options: &CreateOptions<'_>,
    progress: SnapshotProgress<'_>,
) -> Result<Manifest, SnapshotError> {
    let deadline = Instant::now() + PRUNE_PATIENCE;
    while Mark::others(&*repository.objects, Work::Prune, options.clock.now().as_millis()).await? {
        if Instant::now() >= deadline {
            return Err(SnapshotError::Busy("snapshots are being removed"));
        }
        tokio::time::sleep(PRUNE_PAUSE).await;
    }
    let known = Known::read(repository).await?;
    for _ in 0..MAX_MOMENTS {
        let now = options.clock.now();
        let mut view = place.store.view().await?;
        let taken = take(repository, place, kinds, &mut *view, &known, progress).await?;
        drop(view);
        if !copy_blobs(repository, place, &known, &taken.blobs, progress).await? {
            continue;
        }
        let configuration = match options.configuration {
            Some(text) => Some(repository.write_chunk(text, |chunk| known.has(&chunk.path(), chunk.bytes)).await?),
            None => None,
        };
        let manifest = publish(repository, taken, configuration, options.program, now).await?;
        // The snapshot is there whatever becomes of the note; what it names is then written once more.
        if let Err(error) = repository.forget_damage(&known.damaged).await {
            tracing::warn!(%error, "that damaged objects were written again cannot be noted");
        }
        return Ok(manifest);
    }
    Err(SnapshotError::Busy("so much is being deleted that no moment could be kept"))
}

impl Known {
    async fn read(repository: &Repository) -> Result<Self, SnapshotError> {
        let mut known = Self { objects: sizes(repository).await?, keys: HashMap::new(), damaged: repository.damaged().await? };
        for id in repository.ids().await? {
            match keys(repository, &id).await {
                Ok(keys) => {
                    known.keys = keys;
                    break;
                }
                // A damaged one is not built upon.
                Err(SnapshotError::Damaged(found)) => known.damaged.extend(found.parts.into_iter().map(|(path, _)| path)),
                Err(SnapshotError::Inconsistent(_) | SnapshotError::NoSnapshot(_)) => {}
                Err(error) => return Err(error),
            }
        }
        for path in &known.damaged {
            known.objects.remove(&Path::from(path.as_str()));
        }
        Ok(known)
    }

    fn has(&self, path: &Path, size: u64) -> bool {
        self.objects.get(path) == Some(&size)
    }
}

async fn keys(repository: &Repository, id: &str) -> Result<HashMap<String, String>, SnapshotError> {
    let mut keys = HashMap::new();
    let manifest = repository.manifest(id).await?;
    for part in manifest.parts.iter().filter(|part| part.kind == BLOBS.name) {
        for line in lines::read(&repository.read_chunk(&part.chunk, || part.contents()).await?)? {
            if let Some(key) = Blob::KEY.value(&line.body) {
                keys.insert(line.id, key.as_str().to_owned());
            }
        }
    }
    Ok(keys)
}

/// Writes the records of a moment.
async fn take(
    repository: &Repository,
    place: &Place,
    kinds: &[&'static Kind],
    view: &mut dyn View,
    known: &Known,
    progress: SnapshotProgress<'_>,
) -> Result<Taken, SnapshotError> {
    let mut taken = Taken { journal: view.position(), ..Taken::default() };
    for kind in kinds.iter().copied().filter(|kind| is_moved(kind)) {
        let (mut part, mut bytes) = (Vec::new(), 0);
        let mut after: Option<String> = None;
        loop {
            let page = view.page(kind, after.as_deref(), MAX_PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for record in page {
                let line = match known.keys.get(&record.id).filter(|_| kind.name == BLOBS.name) {
                    Some(key) => Line::with_key(record, key),
                    None => Line::opened(&*place.vault, kind, record).await?,
                };
                taken.note(kind, &line)?;
                bytes += line.body.to_string().len();
                let is_end = is_cut(&line.id) || part.len() + 1 >= MAX_PART || bytes >= MAX_PART_BYTES;
                part.push(line);
                if is_end {
                    taken.parts.push(write_part(repository, kind, &part, known).await?);
                    (part, bytes) = (Vec::new(), 0);
                }
            }
            progress(Step::Records, taken.records);
        }
        if !part.is_empty() {
            taken.parts.push(write_part(repository, kind, &part, known).await?);
        }
    }
    Ok(taken)
}

impl Line {
    /// A blob whose key was opened for an earlier snapshot.
    fn with_key(record: crate::StoredRecord, key: &str) -> Self {
        let crate::StoredRecord { id, created_at, mut body, .. } = record;
        Blob::KEY.replace(&mut body, &tfe_core::secret::Sealed::new(key.to_owned()));
        Self { id, created_at, body }
    }
}

impl Taken {
    fn note(&mut self, kind: &Kind, line: &Line) -> Result<(), SnapshotError> {
        self.records += 1;
        if let Some(blob) = line.blob(kind.name) {
            self.blobs.push(blob?);
        }
        if kind.name == INSTALLATIONS.name {
            self.owner = Owner::read(&line.body);
        }
        Ok(())
    }
}

async fn write_part(repository: &Repository, kind: &Kind, part: &[Line], known: &Known) -> Result<Part, SnapshotError> {
    let chunk = repository.write_chunk(&lines::written(part)?, |chunk| known.has(&chunk.path(), chunk.bytes)).await?;
    let id = |line: Option<&Line>| line.map(|line| line.id.clone()).unwrap_or_default();
    Ok(Part { kind: kind.name.to_owned(), first: id(part.first()), last: id(part.last()), count: part.len() as u64, chunk })
}

fn is_cut(id: &str) -> bool {
    Sha256::digest(id.as_bytes()).last().is_some_and(|byte| byte & CUT_MASK == 0)
}

/// Copies the objects that are not in the repository. False if one is gone and so is its record: the moment is over.
async fn copy_blobs(
    repository: &Repository,
    place: &Place,
    known: &Known,
    blobs: &[(Blob, Key)],
    progress: SnapshotProgress<'_>,
) -> Result<bool, SnapshotError> {
    let mut tasks = Tasks::new();
    let mut done = 0;
    let copied: Result<(), SnapshotError> = async {
        for (blob, key) in blobs {
            let sealed = SealedBlob { objects: place.objects.clone(), blob: blob.clone(), key: key.clone() };
            if known.has(&sealed.path(), sealed.object_size()) {
                continue;
            }
            let target = repository.objects.clone();
            tasks.start(async move { Ok(sealed.copy_to(&*target).await?) }).await?;
            done += 1;
            progress(Step::Blobs, done);
        }
        tasks.finish().await
    }
    .await;
    match copied {
        Ok(()) => Ok(true),
        Err(SnapshotError::Objects(BlobError::NotFound(id))) => match place.store.get(&BLOBS, id.as_str()).await? {
            None => Ok(false),
            Some(_) => Err(SnapshotError::Incomplete { what: "the object".to_owned(), record: format!("blobs {id}") }),
        },
        Err(SnapshotError::Objects(BlobError::Tampered(id))) => {
            Err(SnapshotError::Incomplete { what: "the unchanged object".to_owned(), record: format!("blobs {id}") })
        }
        Err(error) => Err(error),
    }
}

/// Makes sure that everything is there, and makes it a snapshot.
async fn publish(
    repository: &Repository,
    taken: Taken,
    configuration: Option<Chunk>,
    program: &str,
    now: Timestamp,
) -> Result<Manifest, SnapshotError> {
    let owner = taken.owner.ok_or(SnapshotError::NoInstallation)?;
    let manifest = Manifest {
        format: FORMAT,
        id: new_id(now)?,
        created_at: now,
        installation: owner.name,
        identity: Some(owner.identity),
        program: program.to_owned(),
        parts: taken.parts,
        records: taken.records,
        blobs: taken.blobs.len() as u64,
        blob_bytes: taken.blobs.iter().map(|(blob, _)| blob.size).sum(),
        journal: taken.journal,
        configuration,
    };
    let there = sizes(repository).await?;
    let is_there = |path: Path, size: u64| there.get(&path) == Some(&size);
    for chunk in manifest.parts.iter().map(|part| &part.chunk).chain(&manifest.configuration) {
        if !is_there(chunk.path(), chunk.bytes) {
            return Err(SnapshotError::Incomplete { what: chunk.path().to_string(), record: "the repository".to_owned() });
        }
    }
    for (blob, key) in taken.blobs {
        let sealed = SealedBlob { objects: repository.objects.clone(), blob, key };
        if !is_there(sealed.path(), sealed.object_size()) {
            return Err(SnapshotError::Incomplete { what: "the copied object".to_owned(), record: format!("blobs {}", sealed.blob.id) });
        }
    }
    let document = serde_json::to_vec(&manifest).map_err(|error| SnapshotError::Inconsistent(error.to_string()))?;
    repository.write_document(&list::path(&manifest.id), &document).await?;
    repository.note_newest(&manifest.id).await?;
    Ok(manifest)
}

/// Lengths of all parts and blobs in the repository.
async fn sizes(repository: &Repository) -> Result<BTreeMap<Path, u64>, SnapshotError> {
    let mut sizes = BTreeMap::new();
    for directory in [RECORDS, DIRECTORY] {
        let mut objects = repository.objects.list(Some(&Path::from(directory)));
        while let Some(object) = objects.try_next().await.map_err(BlobError::unavailable)? {
            sizes.insert(object.location, object.size);
        }
    }
    Ok(sizes)
}
