//! The place that a snapshot is restored to: empty at first, and marked as unfinished until all is there.

use tfe_core::{installation::INSTALLATIONS, record::Kind};

use super::{SnapshotError, lines::Line};
use crate::{
    Batch, Error, StoredRecord, Write,
    migrate::{self, Place, UNFINISHED, is_moved},
    rewrap::page_after,
};

/// Records in one commit: as many as a database takes in some ten milliseconds.
const BATCH: usize = 500;
/// How often records are deleted anew that others changed or deleted meanwhile.
const MAX_ROUNDS: u32 = 3;

/// Makes sure that there is no installation. What an earlier restore left half done is removed.
pub(super) async fn clear(place: &Place, kinds: &[&'static Kind]) -> Result<(), SnapshotError> {
    let present = page_after(&*place.store, &INSTALLATIONS, None, 1).await?;
    if present.iter().any(|record| record.body[UNFINISHED] != true) {
        return Err(SnapshotError::Occupied);
    }
    // The installation last: until then everyone sees that this is no whole one.
    for kind in migrate::ordered(kinds).into_iter().rev().filter(|kind| is_moved(kind) && kind.name != INSTALLATIONS.name) {
        remove_all(place, kind).await?;
    }
    remove_all(place, &INSTALLATIONS).await
}

/// Makes the place an installation that a server may work on.
pub async fn finish(place: &Place) -> Result<(), SnapshotError> {
    migrate::finish(place).await.map_err(SnapshotError::from)
}

/// Adds records of a kind, whose secrets are sealed on the way. Those that refer to others of the kind come after them.
pub(super) async fn insert(place: &Place, kind: &'static Kind, lines: Vec<Line>) -> Result<Vec<StoredRecord>, SnapshotError> {
    let mut waiting = Vec::new();
    let mut batch = Vec::new();
    for line in lines {
        batch.push(unfinished(kind, line.sealed(&*place.vault, kind).await?));
        if batch.len() >= BATCH {
            waiting.extend(insert_batch(place, kind, std::mem::take(&mut batch)).await?);
        }
    }
    waiting.extend(insert_batch(place, kind, batch).await?);
    Ok(waiting)
}

/// Adds records that waited for others of their kind: each round adds at least one, or something is missing.
pub(super) async fn settle(place: &Place, kind: &'static Kind, mut waiting: Vec<StoredRecord>) -> Result<(), SnapshotError> {
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting = insert_batch(place, kind, waiting).await?;
        if waiting.len() == before {
            return Err(SnapshotError::Inconsistent(format!("{} {} refers to something that is not there", kind.name, waiting[0].id)));
        }
    }
    Ok(())
}

/// Gives back those that refer to something that is not there yet.
async fn insert_batch(place: &Place, kind: &'static Kind, records: Vec<StoredRecord>) -> Result<Vec<StoredRecord>, SnapshotError> {
    let mut all = Batch::new();
    all.extend(records.iter().cloned().map(|record| Write::Insert(kind, record)));
    match place.store.commit(all).await {
        Ok(()) => return Ok(Vec::new()),
        Err(Error::Dangling { .. }) => {}
        Err(Error::AlreadyExists { kind }) => return Err(SnapshotError::Inconsistent(format!("{kind} are there twice"))),
        Err(error) => return Err(error.into()),
    }
    let mut waiting = Vec::new();
    for record in records {
        match place.store.commit(Batch::new().with(Write::Insert(kind, record.clone()))).await {
            Ok(()) => {}
            Err(Error::Dangling { .. }) => waiting.push(record),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(waiting)
}

/// An installation that is not complete says so.
pub(super) fn unfinished(kind: &Kind, mut record: StoredRecord) -> StoredRecord {
    if kind.name == INSTALLATIONS.name {
        record.body[UNFINISHED] = true.into();
    }
    record
}

async fn remove_all(place: &Place, kind: &'static Kind) -> Result<(), SnapshotError> {
    let mut rounds = 0;
    loop {
        let page = page_after(&*place.store, kind, None, BATCH as u64).await?;
        if page.is_empty() {
            return Ok(());
        }
        let delete = |record: &StoredRecord| Write::Delete { kind, id: record.id.clone(), version: record.version };
        let mut all = Batch::new();
        all.extend(page.iter().map(delete));
        match place.store.commit(all).await {
            Ok(()) => continue,
            // One went with another that it refers to.
            Err(Error::Conflict { .. }) if rounds < MAX_ROUNDS => rounds += 1,
            Err(error) => return Err(error.into()),
        }
        for record in &page {
            match place.store.commit(Batch::new().with(delete(record))).await {
                Ok(()) | Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
