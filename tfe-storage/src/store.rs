//! The contract of a store, and typed access on top of it.

use std::{fmt::Debug, ops::Deref, time::Duration};

use async_trait::async_trait;
use serde_json::Value;
use tfe_core::{
    record::{Kind, Record},
    time::Timestamp,
};

use crate::{
    batch::Batch,
    error::{Error, Result},
    query::Query,
    snapshot::JournalPosition,
};

/// The version of a record that was just inserted.
pub const FIRST_VERSION: u64 = 1;
/// How often [`StoreExt::update`] tries. With the growing pauses that is a few seconds, in which dozens of
/// writers of one record all get their turn.
pub const MAX_UPDATE_ATTEMPTS: u32 = 40;
/// Longest pause between two attempts, in milliseconds.
const MAX_PAUSE_MILLIS: u64 = 128;

/// Keeps records. Four methods; [`StoreExt`] has what callers use.
///
/// # Records
///
/// A record belongs to a [`Kind`], which says what is unique, what refers to what, and by what lists can be
/// filtered. Ids are unique in a kind. A missing or null value is never equal to another and refers to nothing.
///
/// # Commits
///
/// A batch happens completely or not at all, and is durable when `commit` returns. Its writes happen in order, each
/// seeing the earlier ones; the unique groups and references hold after each of them, uniqueness being checked first.
/// A write that names a version fails with [`Error::Conflict`] if the record has another one or is gone. Deleting a
/// record deletes all that refer to it, and so on. What a commit has done is seen by every read that begins later.
///
/// # Rules for implementations
///
/// Begin `commit` with [`Batch::into_checked`] and `query` with [`Query::check`] and [`Query::matches_nothing`].
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The record of that id.
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>>;

    /// The records that a query asks for.
    async fn query(&self, query: &Query) -> Result<Page>;

    /// Does all of the batch, or nothing.
    async fn commit(&self, batch: Batch) -> Result<()>;

    /// All records as they are now, whatever is committed later: what a snapshot is taken of. It holds resources of the
    /// database, so whoever opens one reads on without long pauses and drops it.
    async fn view(&self) -> Result<Box<dyn View>>;
}

/// All records at one moment.
#[async_trait]
pub trait View: Debug + Send {
    /// The records of a kind that come after an id, by id; at most `limit`, which is at most [`MAX_PAGE`](crate::MAX_PAGE).
    async fn page(&mut self, kind: &'static Kind, after: Option<&str>, limit: u64) -> Result<Vec<StoredRecord>>;

    /// Where the journal goes on after this moment, if the store keeps one.
    fn position(&self) -> Option<JournalPosition> {
        None
    }
}

/// A record as stores keep it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRecord {
    /// Its id, unique in the kind.
    pub id: String,
    /// When it was made; never changes.
    pub created_at: Timestamp,
    /// How often it was written.
    pub version: u64,
    /// The serialised record.
    pub body: Value,
}

/// Some of the records that fulfil a query.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The records, in order.
    pub items: Vec<StoredRecord>,
    /// How many fulfil the query on all pages if it was [`Query::counted`], else how many are in `items`.
    pub total: u64,
}

/// A record together with the version that was read, which a write must name.
#[derive(Debug, Clone, PartialEq)]
pub struct Versioned<T> {
    /// The version that was read.
    pub version: u64,
    /// The record.
    pub record: T,
}

/// Like [`Page`], typed.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T> {
    /// The records, in order.
    pub items: Vec<Versioned<T>>,
    /// How many fulfil the query on all pages if it was [`Query::counted`], else how many are in `items`.
    pub total: u64,
}

/// Typed access to any [`Store`].
pub trait StoreExt: Store {
    /// The record of that id.
    fn find<T: Record>(&self, id: &str) -> impl Future<Output = Result<Option<Versioned<T>>>> + Send {
        async move { self.get(T::KIND, id).await?.map(parse).transpose() }
    }

    /// The oldest record with that value.
    fn find_by<T: Record>(&self, field: &'static str, value: &str) -> impl Future<Output = Result<Option<Versioned<T>>>> + Send {
        let query = Query::of::<T>().equals(field, value).limit(1);
        async move { Ok(self.list(query).await?.items.pop()) }
    }

    /// The records that a query over `T` asks for.
    fn list<T: Record>(&self, query: Query) -> impl Future<Output = Result<List<T>>> + Send {
        debug_assert_eq!(query.kind.name, T::KIND.name, "the query is about the type");
        async move {
            let page = self.query(&query).await?;
            let items = page.items.into_iter().map(parse).collect::<Result<_>>()?;
            Ok(List { items, total: page.total })
        }
    }

    /// Changes one record, reading it again when another writer came first. [`Error::NotFound`] if there is none,
    /// [`Error::Conflict`] after [`MAX_UPDATE_ATTEMPTS`]. `change` may be called several times.
    fn update<T: Record>(&self, id: &str, mut change: impl FnMut(T) -> T + Send) -> impl Future<Output = Result<Versioned<T>>> + Send {
        async move {
            let missing = || Error::NotFound { kind: T::KIND.name, id: id.to_owned() };
            let mut attempt = 0;
            loop {
                let current = self.find::<T>(id).await?.ok_or_else(missing)?;
                let next = change(current.record.clone());
                match self.commit(Batch::new().update(&current, &next)).await {
                    Ok(()) => return Ok(Versioned { version: current.version + 1, record: next }),
                    Err(Error::Conflict { .. }) if attempt + 1 < MAX_UPDATE_ATTEMPTS => attempt += 1,
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(pause(attempt)).await;
            }
        }
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

impl<T> Versioned<T> {
    /// A record that was just inserted.
    pub fn inserted(record: T) -> Self {
        Self { version: FIRST_VERSION, record }
    }

    /// The record alone.
    pub fn into_record(self) -> T {
        self.record
    }
}

impl<T> AsRef<T> for Versioned<T> {
    fn as_ref(&self) -> &T {
        &self.record
    }
}

impl<T> Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.record
    }
}

fn parse<T: Record>(stored: StoredRecord) -> Result<Versioned<T>> {
    let StoredRecord { id, version, body, .. } = stored;
    match serde_json::from_value(body) {
        Ok(record) => Ok(Versioned { version, record }),
        Err(source) => Err(Error::Corrupt { kind: T::KIND.name, id, source }),
    }
}

/// A random pause below a bound that doubles with each attempt, so that writers in step get out of step.
fn pause(attempt: u32) -> Duration {
    let bound = 1_u64.checked_shl(attempt).unwrap_or(u64::MAX).min(MAX_PAUSE_MILLIS) * 1_000;
    // Without randomness the pause is the bound: still correct, only less fair.
    let micros = getrandom::u64().map_or(bound, |random| random % bound);
    Duration::from_micros(micros)
}
