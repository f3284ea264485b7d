//! Records in an SQL database: one implementation for `SQLite` and `PostgreSQL`.
//!
//! A kind is a table with the columns `id`, `created_at`, `version` and `body`; what can be filtered, must be unique
//! or refers to something is a column that the database itself fills from the body, so it is written once and the
//! database keeps the promises. Names in SQL come from [`Kind`]s, which are constants of the program;
//! everything else is bound.

mod commit;
mod dialect;
mod outage;
#[cfg(feature = "testing")]
mod plan;
#[cfg(feature = "postgres")]
mod postgres;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;
mod view;

use std::fmt;

use async_trait::async_trait;
use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, Type, types::Json};
use tfe_core::{record::Kind, time::Timestamp};

pub use self::dialect::Dialect;
use self::{commit::Outcome, outage::Patience, statement::Row, view::SqlView};
#[cfg(feature = "postgres")]
pub use self::{
    postgres::{DEFAULT_CONNECTIONS, MIN_CONNECTIONS},
    schema::online::SCHEMA_LOCK_TIMEOUT,
};
use crate::{
    batch::Batch,
    error::{Error, Result},
    query::Query,
    store::{Page, Store, StoredRecord, View},
};

/// Records in an SQL database.
pub struct SqlStore<DB: Database> {
    /// Connections for reads.
    read: Pool<DB>,
    /// Connections for commits; the same pool where the database lets writers wait fairly.
    write: Pool<DB>,
}

#[async_trait]
impl<DB: Dialect> Store for SqlStore<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Json<serde_json::Value>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>> {
        Ok(self.query(&Query::new(kind).equals("id", id).limit(1)).await?.items.pop())
    }

    async fn query(&self, query: &Query) -> Result<Page> {
        query.check()?;
        if query.matches_nothing() {
            return Ok(Page::default());
        }
        let mut patience = Patience::new();
        loop {
            match outage::limited(self.page(query)).await {
                Err(error) if outage::is_outage(&error) && patience.wait().await => {}
                page => return page.map_err(outage::explained),
            }
        }
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        let writes = batch.into_checked()?;
        if writes.is_empty() {
            return Ok(());
        }
        let mut patience = Patience::new();
        loop {
            match self.attempt(&writes).await {
                Outcome::Done => return Ok(()),
                Outcome::Refused(error) => return Err(error),
                Outcome::Unreached(_) if patience.wait().await => {}
                Outcome::Unreached(error) => return Err(Error::unavailable(error)),
                Outcome::Unknown(mark, error) => {
                    tracing::debug!(%error, "the answer to a commit was lost; looking for its mark");
                    if self.happened(&mark, &mut patience).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        Ok(Box::new(SqlView::open(&self.read).await?))
    }
}

impl<DB: Dialect> SqlStore<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Json<serde_json::Value>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    async fn page(&self, query: &Query) -> sqlx::Result<Page> {
        let rows: Vec<Row> = statement::select(query).build_query_as().fetch_all(&self.read).await?;
        let found = rows.len() as u64;
        let total = match (query.counted, statement::is_last_page(query, found)) {
            (false, _) => found,
            (true, true) => query.offset + found,
            (true, false) => {
                let count: i64 = statement::count(query).build_query_scalar().fetch_one(&self.read).await?;
                count.unsigned_abs()
            }
        };
        Ok(Page { items: rows.into_iter().map(record).collect(), total })
    }
}

impl<DB: Database> fmt::Debug for SqlStore<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("database", &DB::NAME).finish_non_exhaustive()
    }
}

fn record((id, created_at, version, Json(body)): Row) -> StoredRecord {
    StoredRecord { id, created_at: Timestamp::from_millis(created_at), version: version.unsigned_abs(), body }
}
