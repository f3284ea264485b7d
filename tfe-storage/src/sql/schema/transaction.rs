//! Adding to the schema in one transaction.

use sqlx::{ColumnIndex, Decode, Encode, Executor, IntoArguments, Pool, QueryBuilder, Type};

use super::{
    format,
    notes::{self, Notes},
    parts::{Part, Shape},
};
use crate::{
    error::{Error, Result},
    sql::dialect::Dialect,
};

/// Adds what is missing, all or nothing, and gives what must be added while others work.
pub(in crate::sql) async fn add<DB: Dialect>(pool: &Pool<DB>, parts: &[Part]) -> Result<Vec<Part>>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let mut transaction = pool.begin_with(DB::BEGIN).await.map_err(Error::unavailable)?;
    for sql in DB::PREPARE_SCHEMA {
        run::<DB>(&mut transaction, sql).await?;
    }
    run::<DB>(&mut transaction, notes::CREATE).await?;
    let notes = Notes::read::<DB>(&mut transaction).await?;
    format::check(&notes)?;
    let mut left = Vec::new();
    for part in parts {
        if !notes.lack(&part.name, &part.definition)? {
            continue;
        }
        if DB::IS_SHARED && !matches!(part.shape, Shape::Table) && touches_existing(part.table, parts, &notes) {
            left.push(part.clone());
            continue;
        }
        tracing::debug!(part = part.name, "adding to the schema");
        run::<DB>(&mut transaction, &part.sql).await?;
        notes::note::<DB>(&mut transaction, &part.name, &part.definition).await?;
    }
    // Else it is noted when the rest is there: until then nothing is written in this program's format.
    if left.is_empty() {
        for (name, definition) in format::news(&notes)? {
            notes::note::<DB>(&mut transaction, name, &definition).await?;
        }
    }
    transaction.commit().await.map_err(Error::unavailable)?;
    Ok(left)
}

/// Whether a table is there already, or refers to one that is: a reference locks its target too.
fn touches_existing(table: &str, parts: &[Part], notes: &Notes) -> bool {
    let exists = |table: &str| notes.definition(&format!("table {table}")).is_some();
    let refers_to = |part: &Part| if let Shape::Column(field) = part.shape { field.refers } else { None };
    exists(table) || parts.iter().filter(|part| part.table == table).filter_map(refers_to).any(exists)
}

async fn run<DB: Dialect>(connection: &mut DB::Connection, sql: &str) -> Result<()>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    QueryBuilder::<DB>::new(sql).build().execute(connection).await.map(drop).map_err(Error::unavailable)
}
