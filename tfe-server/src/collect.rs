//! Collecting what nothing refers to: blobs whose records lost their last referrer, and objects without a record.
//!
//! A blob's record is committed together with the first record that refers to it, and no other refers to it later. So
//! what is not referred to, after a time in which every commit has ended, never will be again. References are found by
//! their form in any record, so that no list of fields can be forgotten.

use std::{collections::BTreeSet, time::Duration};

use futures::TryStreamExt;
use serde_json::Value;
use tfe_core::{
    KINDS,
    blob::{BLOBS, Blob},
    id::{Id, Identified},
    record::Kind,
    time::Timestamp,
};
use tfe_storage::{Batch, Direction, Error, Query, Sort, StoreExt, StoredRecord};
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    error::{ApiError, chain},
};

/// How old something must be: longer than any upload and any commit may take.
const GRACE_SECONDS: i64 = 24 * 60 * 60;
/// The time from the start to the first round, so that a node that starts and ends all the time does other things.
const FIRST_ROUND: Duration = Duration::from_mins(10);
/// The time between two rounds: a round reads everything, and what waits only costs space.
const INTERVAL: Duration = Duration::from_hours(6);
/// Records that are read at once.
const PAGE: u64 = 500;

/// What a round removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Records of blobs that nothing referred to.
    pub records: u64,
    /// Objects without a record.
    pub objects: u64,
}

/// Collects from time to time until `shutdown`.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let mut wait = FIRST_ROUND;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => wait = INTERVAL,
        }
        match round(&app, app.now().plus_seconds(-GRACE_SECONDS)).await {
            Ok(Collected { records: 0, objects: 0 }) => {}
            Ok(Collected { records, objects }) => tracing::info!(records, objects, "blobs that nothing referred to were collected"),
            Err(error) => tracing::warn!(error = chain(&error), "collecting blobs failed; the next round tries again"),
        }
    }
}

/// Removes what was written before that time and nothing refers to. Safe to repeat and to run on several nodes.
pub async fn round(app: &App, before: Timestamp) -> Result<Collected, ApiError> {
    let mut collected = Collected::default();
    // The blobs first: what is referred to later than this look is newer than what is looked at.
    let candidates = candidates(app, before).await?;
    let referred = referred(app).await?;
    for record in candidates.iter().filter(|record| !referred.contains(&record.id)) {
        let id = Id::<Blob>::from(record.id.as_str());
        // The record first: an object without a record is found again, a record without its object is damage.
        match app
            .store
            .commit(Batch::new().with(tfe_storage::Write::Delete { kind: &BLOBS, id: record.id.clone(), version: record.version }))
            .await
        {
            Ok(()) => collected.records += 1,
            Err(Error::Conflict { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        app.blobs.delete(&id).await?;
    }
    let mut objects = app.blobs.written_before(before);
    while let Some(id) = objects.try_next().await? {
        if app.store.find::<Blob>(id.as_str()).await?.is_none() {
            app.blobs.delete(&id).await?;
            collected.objects += 1;
        }
    }
    Ok(collected)
}

async fn candidates(app: &App, before: Timestamp) -> Result<Vec<StoredRecord>, ApiError> {
    let mut old = Vec::new();
    let mut after = None;
    while let Some(page) = page_after(app, &BLOBS, after.as_deref()).await? {
        after = page.last().map(|record| record.id.clone());
        // Only what a deletion needs.
        let records = page.into_iter().filter(|record| record.created_at < before);
        old.extend(records.map(|record| StoredRecord { body: Value::Null, ..record }));
    }
    Ok(old)
}

/// Every id of a blob in any record but the blobs' own.
async fn referred(app: &App) -> Result<BTreeSet<String>, ApiError> {
    let mut found = BTreeSet::new();
    for kind in KINDS.iter().copied().filter(|kind| kind.name != BLOBS.name) {
        let mut after = None;
        while let Some(page) = page_after(app, kind, after.as_deref()).await? {
            after = page.last().map(|record| record.id.clone());
            for record in &page {
                gather(&record.body, &mut found);
            }
        }
    }
    Ok(found)
}

async fn page_after(app: &App, kind: &'static Kind, after: Option<&str>) -> Result<Option<Vec<StoredRecord>>, ApiError> {
    let query = Query::new(kind).sort(Sort::Id, Direction::Ascending).limit(PAGE);
    let query = match after {
        Some(id) => query.after("id", id),
        None => query,
    };
    Ok(Some(app.store.query(&query).await?.items).filter(|page| !page.is_empty()))
}

fn gather(body: &Value, found: &mut BTreeSet<String>) {
    match body {
        Value::String(text) if text.strip_prefix(Blob::PREFIX).is_some_and(|rest| rest.starts_with('-')) => {
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, found)),
        Value::Object(members) => members.values().for_each(|member| gather(member, found)),
        _ => {}
    }
}
