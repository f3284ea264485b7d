//! Copying records, with their secrets sealed anew.

use tfe_core::{installation::INSTALLATIONS, record::Kind};

use super::{MigrateError, Place, Progress, Stage};
use crate::{Batch, Error, FIRST_VERSION, StoredRecord, batch::Write, rewrap::page_after};

/// Records that are read at once.
const PAGE: u64 = 200;
/// The field of an installation that says that it is not complete yet.
pub(crate) const UNFINISHED: &str = "unfinished";

/// The target must be empty, or hold the beginning of this same installation.
pub(super) async fn check_target(source: &Place, target: &Place) -> Result<(), MigrateError> {
    let of = async |place: &Place| page_after(&*place.store, &INSTALLATIONS, None, 2).await;
    let (there, here) = (of(target).await?, of(source).await?);
    let name = |records: &[StoredRecord]| records.first().map(|record| record.body["name"].clone());
    if there.is_empty() || name(&there) == name(&here) { Ok(()) } else { Err(MigrateError::Occupied) }
}

/// Makes the target's records those of the source. Kinds go in order, and inside of a kind what refers to its own kind
/// comes after what it refers to.
pub(super) async fn copy(source: &Place, target: &Place, kinds: &[&'static Kind], progress: Progress<'_>) -> Result<(), MigrateError> {
    let mut done = 0;
    for kind in ordered(kinds) {
        let mut waiting = Vec::new();
        let mut after = None;
        loop {
            let page = page_after(&*source.store, kind, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for record in page {
                waiting.extend(copy_one(source, target, kind, record).await?);
                done += 1;
            }
            progress(Stage::Records, done);
        }
        settle(source, target, kind, waiting).await?;
    }
    Ok(())
}

/// Deletes what the source does not have (any more), so that a migration that is started again ends equal.
pub(super) async fn prune(source: &Place, target: &Place, kinds: &[&'static Kind]) -> Result<(), MigrateError> {
    for kind in kinds {
        let mut after = None;
        loop {
            let page = page_after(&*target.store, kind, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for record in page {
                if source.store.get(kind, &record.id).await?.is_none() {
                    let delete = Write::Delete { kind, id: record.id, version: record.version };
                    target.store.commit(Batch::new().with(delete)).await?;
                }
            }
        }
    }
    Ok(())
}

/// Makes the target an installation that a server may work on.
pub(crate) async fn finish(target: &Place) -> Result<(), Error> {
    for mut record in page_after(&*target.store, &INSTALLATIONS, None, PAGE).await? {
        if let Some(body) = record.body.as_object_mut()
            && body.remove(UNFINISHED).is_some()
        {
            target.store.commit(Batch::new().with(Write::Update(&INSTALLATIONS, record))).await?;
        }
    }
    Ok(())
}

/// Records that wait for others of their kind: each round copies at least one, or there is a circle.
async fn settle(source: &Place, target: &Place, kind: &'static Kind, mut waiting: Vec<StoredRecord>) -> Result<(), MigrateError> {
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut still = Vec::new();
        for record in waiting {
            still.extend(copy_one(source, target, kind, record).await?);
        }
        if still.len() == before {
            return Err(Error::Dangling { kind: kind.name }.into());
        }
        waiting = still;
    }
    Ok(())
}

/// Gives the record back if it refers to one that is not there yet.
async fn copy_one(source: &Place, target: &Place, kind: &'static Kind, record: StoredRecord) -> Result<Option<StoredRecord>, MigrateError> {
    let present = target.store.get(kind, &record.id).await?;
    if let Some(present) = &present
        && opened(source, kind, &record).await? == opened(target, kind, present).await?
    {
        return Ok(None);
    }
    let mut next = StoredRecord { version: FIRST_VERSION, ..record.clone() };
    if kind.name == INSTALLATIONS.name {
        next.body[UNFINISHED] = true.into();
    }
    for seal in kind.seals {
        let Some(sealed) = seal.value(&record.body) else { continue };
        let failed = |source| MigrateError::Vault { kind: kind.name, id: record.id.clone(), source };
        let context = seal.context(&record.id);
        let plain = source.vault.open(&context, &sealed).await.map_err(failed)?;
        let sealed = target.vault.seal(&context, &plain).await.map_err(failed)?;
        seal.replace(&mut next.body, &sealed);
    }
    let write = match present {
        None => Write::Insert(kind, next),
        Some(present) => Write::Update(kind, StoredRecord { version: present.version, ..next }),
    };
    match target.store.commit(Batch::new().with(write)).await {
        Ok(()) => Ok(None),
        Err(Error::Dangling { .. }) => Ok(Some(record)),
        Err(error) => Err(error.into()),
    }
}

/// The body with its secrets in clear, for comparing; it is in memory only as long as that takes.
pub(super) async fn opened(place: &Place, kind: &'static Kind, record: &StoredRecord) -> Result<serde_json::Value, MigrateError> {
    let mut body = record.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove(UNFINISHED);
    }
    for seal in kind.seals {
        let Some(sealed) = seal.value(&record.body) else { continue };
        let failed = |source| MigrateError::Vault { kind: kind.name, id: record.id.clone(), source };
        let plain = place.vault.open(&seal.context(&record.id), &sealed).await.map_err(failed)?;
        seal.replace(&mut body, &tfe_core::secret::Sealed::new(super::digest::hex(&plain)));
    }
    Ok(body)
}

/// Kinds after those that they refer to.
pub(crate) fn ordered(kinds: &[&'static Kind]) -> Vec<&'static Kind> {
    let mut ordered: Vec<&'static Kind> = Vec::new();
    while ordered.len() < kinds.len() {
        let is_placed = |name: &str| ordered.iter().any(|kind| kind.name == name) || !kinds.iter().any(|kind| kind.name == name);
        let is_next = |kind: &Kind| {
            let placed = kind.fields.iter().filter_map(|field| field.refers).all(|target| target == kind.name || is_placed(target));
            placed && !is_placed(kind.name)
        };
        match kinds.iter().copied().find(|kind| is_next(kind)) {
            Some(kind) => ordered.push(kind),
            // Kinds that refer to each other: the database would refuse the first of any order, and says so.
            None => return kinds.to_vec(),
        }
    }
    ordered
}
