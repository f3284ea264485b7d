//! Bringing the journal of a store to a repository, within a second of each commit.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tfe_core::blob::BLOBS;

use super::{
    JournaledStore, Repository, SnapshotError,
    journal::{Change, Commit, Segment},
    journaled::{Noted, Shared},
    lines::Line,
};
use crate::{BlobError, Write, blobs::SealedBlob, migrate::Place};

/// How long commits gather before they are shipped: well within the second that a lost machine may cost, and few enough
/// objects that listing them stays cheap.
const GATHERING: Duration = Duration::from_millis(200);
/// Most commits in a segment, but for those that delete what it tells of.
const MAX_COMMITS: usize = 2_000;
/// The pause after a failure, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Ships what a store notes.
#[derive(Debug)]
pub struct Shipper {
    shared: Arc<Shared>,
    repository: Repository,
    place: Place,
    /// The number after the last commit that was shipped, and the last such that is noted as the end.
    shipped: AtomicU64,
    noted: AtomicU64,
}

impl Shipper {
    /// For a store and the place it belongs to; the place's vault opens what is shipped.
    pub fn new(store: &JournaledStore, repository: Repository, place: Place) -> Self {
        Self { shared: store.shared().clone(), repository, place, shipped: AtomicU64::new(0), noted: AtomicU64::new(0) }
    }

    /// Ships for as long as it is polled.
    pub async fn run(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.ship().await {
                Ok(true) => pause = FIRST_PAUSE,
                Ok(false) => {
                    self.shared.news.notified().await;
                    tokio::time::sleep(GATHERING).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "what was committed cannot be shipped to the snapshots; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Ships what waits now. False if nothing does; then the end is noted.
    pub async fn ship(&self) -> Result<bool, SnapshotError> {
        let (mut commits, mut gone) = (Vec::<Commit>::new(), BTreeSet::new());
        loop {
            let waiting = self.shared.waiting(commits.last().map(|commit| commit.number), MAX_COMMITS);
            let is_end = waiting.is_empty();
            for noted in waiting {
                commits.push(self.opened(noted, &mut gone).await?);
            }
            // What tells of a blob that is gone goes with what deleted it, so that the segment is whole by itself.
            if is_end || gone.is_empty() {
                break;
            }
        }
        let Some(last) = commits.last().map(|commit| commit.number) else {
            self.note_end().await?;
            return Ok(false);
        };
        self.repository.write_segment(&self.shared.stream, &Segment { commits }).await?;
        self.shared.shipped(last);
        self.shipped.store(last + 1, Ordering::Relaxed);
        Ok(true)
    }

    /// Notes how far the journal leads, so that the loss of its last segments is seen.
    async fn note_end(&self) -> Result<(), SnapshotError> {
        let shipped = self.shipped.load(Ordering::Relaxed);
        if shipped > self.noted.load(Ordering::Relaxed) {
            self.repository.write_tip(&self.shared.stream, shipped).await?;
            self.noted.store(shipped, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A commit with its secrets opened, once the objects of its blobs are in the repository. `gone` has the ids of blobs that were
    /// deleted before that.
    async fn opened(&self, noted: Noted, gone: &mut BTreeSet<String>) -> Result<Commit, SnapshotError> {
        let mut changes = Vec::with_capacity(noted.writes.len());
        for write in noted.writes {
            changes.extend(self.change(write, gone).await?);
        }
        Ok(Commit { number: noted.number, at: noted.at, changes })
    }

    async fn change(&self, write: Write, gone: &mut BTreeSet<String>) -> Result<Option<Change>, SnapshotError> {
        let (kind, record) = match write {
            Write::Insert(kind, record) | Write::Update(kind, record) => (kind, record),
            Write::Delete { kind, id, .. } => {
                gone.remove(&id);
                return Ok(Some(Change::Delete { kind: kind.name.to_owned(), id }));
            }
            Write::Check { .. } => return Ok(None),
        };
        let line = Line::opened(&*self.place.vault, kind, record).await?;
        if let Some((blob, key)) = line.blob(kind.name).transpose()? {
            let sealed = SealedBlob { objects: self.place.objects.clone(), blob, key };
            match sealed.copy_to(&*self.repository.objects).await {
                Ok(()) => {}
                // Deleted since; a later commit says so.
                Err(BlobError::NotFound(id)) if self.place.store.get(&BLOBS, id.as_str()).await?.is_none() => {
                    gone.insert(id.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Change::Put { kind: kind.name.to_owned(), line }))
    }
}
