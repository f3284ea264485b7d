//! All records at one moment: a transaction that only reads.

use std::fmt;

use async_trait::async_trait;
use sqlx::{ColumnIndex, Decode, Encode, Executor, IntoArguments, Pool, QueryBuilder, SqlSafeStr, Transaction, Type, types::Json};
use tfe_core::record::Kind;

use super::{dialect::Dialect, outage, record, statement, statement::Row};
use crate::{
    error::Result,
    query::Query,
    store::{StoredRecord, View},
};

pub(super) struct SqlView<DB: Dialect>(Transaction<'static, DB>);

impl<DB: Dialect> SqlView<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    /// Begins to look. Both databases fix what a transaction sees at its first read, so there is one at once.
    pub(super) async fn open(pool: &Pool<DB>) -> Result<Self> {
        let begun = async {
            let mut transaction = pool.begin_with(DB::VIEW.into_sql_str()).await?;
            QueryBuilder::<DB>::new("SELECT count(*) FROM meta").build().fetch_optional(&mut *transaction).await?;
            Ok(Self(transaction))
        };
        outage::limited(begun).await.map_err(outage::explained)
    }
}

#[async_trait]
impl<DB: Dialect> View for SqlView<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Json<serde_json::Value>: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    async fn page(&mut self, kind: &'static Kind, after: Option<&str>, limit: u64) -> Result<Vec<StoredRecord>> {
        let query = Query::by_id(kind, after, limit);
        let mut sql = statement::select::<DB>(&query);
        let rows: Vec<Row> = outage::limited(sql.build_query_as().fetch_all(&mut *self.0)).await.map_err(outage::explained)?;
        Ok(rows.into_iter().map(record).collect())
    }
}

impl<DB: Dialect> fmt::Debug for SqlView<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlView").field("database", &DB::NAME).finish_non_exhaustive()
    }
}
