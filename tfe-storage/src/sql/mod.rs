//! Records in an SQL database: one implementation for `SQLite` and `PostgreSQL`.
//!
//! A kind is a table with the columns `id`, `created_at`, `version` and `body`; what can be filtered, must be unique
//! or refers to something is a column that the database generates from the body, so it is written once and the
//! database itself keeps the promises. Names in SQL come from [`Kind`]s, which are constants of the program;
//! everything else is bound.

mod dialect;
#[cfg(feature = "postgres")]
mod postgres;
mod schema;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;

use std::fmt;

use async_trait::async_trait;
use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, Transaction, Type, error::ErrorKind, types::Json};
use tfe_core::{record::Kind, time::Timestamp};

pub use self::dialect::Dialect;
use self::statement::Row;
use crate::{
    batch::{Batch, Write},
    error::{Error, Result},
    query::Query,
    store::{Page, Store, StoredRecord},
};

/// Records in an SQL database.
pub struct SqlStore<DB: Database> {
    /// Connections for reads.
    read: Pool<DB>,
    /// Connections for commits; the same pool where the database lets writers wait fairly.
    write: Pool<DB>,
}

impl<DB: Dialect> SqlStore<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    /// A store on open pools, after bringing the schema up to the kinds.
    async fn prepared(read: Pool<DB>, write: Pool<DB>, kinds: &[&'static Kind]) -> Result<Self> {
        schema::reconcile(&write, kinds).await?;
        Ok(Self { read, write })
    }
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
        let rows: Vec<Row> = statement::select(query).build_query_as().fetch_all(&self.read).await.map_err(Error::unavailable)?;
        let found = rows.len() as u64;
        let total = match (query.counted, statement::is_last_page(query, found)) {
            (false, _) => found,
            (true, true) => query.offset + found,
            (true, false) => {
                let count: i64 = statement::count(query).build_query_scalar().fetch_one(&self.read).await.map_err(Error::unavailable)?;
                count.unsigned_abs()
            }
        };
        Ok(Page { items: rows.into_iter().map(record).collect(), total })
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        let writes = batch.into_checked()?;
        let Some(last) = writes.last() else { return Ok(()) };
        let mut transaction: Transaction<'_, DB> = self.write.begin_with(DB::BEGIN).await.map_err(Error::unavailable)?;
        for write in &writes {
            let hit: Option<String> = statement::write(write)
                .build_query_scalar()
                .fetch_optional(&mut *transaction)
                .await
                .map_err(|error| failure(write, error))?;
            hit.ok_or_else(|| conflict(write))?;
        }
        transaction.commit().await.map_err(|error| failure(last, error))
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

fn failure(write: &Write, error: sqlx::Error) -> Error {
    let kind = write.kind().name;
    let Some(cause) = error.as_database_error() else { return Error::unavailable(error) };
    match cause.kind() {
        ErrorKind::UniqueViolation => Error::AlreadyExists { kind },
        ErrorKind::ForeignKeyViolation => Error::Dangling { kind },
        _ if is_collision(cause.code().as_deref()) => conflict(write),
        _ => Error::unavailable(error),
    }
}

/// Whether `PostgreSQL` gave up on a transaction because of another one: a serialization failure or a deadlock.
fn is_collision(code: Option<&str>) -> bool {
    matches!(code, Some("40001" | "40P01"))
}

fn conflict(write: &Write) -> Error {
    Error::Conflict { kind: write.kind().name, id: write.id().to_owned() }
}
