//! What was added to the schema, as the table `meta` has it.

use std::collections::HashMap;

use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, QueryBuilder, Type};

use crate::error::{Error, Result};

/// Makes the table.
pub(super) const CREATE: &str = "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, definition TEXT NOT NULL)";

/// Names of what was added, each with its definition.
#[derive(Debug)]
pub(super) struct Notes(HashMap<String, String>);

impl Notes {
    /// The notes as they are now.
    pub(super) async fn read<DB: Database>(connection: &mut DB::Connection) -> Result<Self>
    where
        for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
        DB::Arguments: IntoArguments<DB>,
        for<'q> String: Decode<'q, DB> + Type<DB>,
        usize: ColumnIndex<DB::Row>,
    {
        let mut sql = QueryBuilder::<DB>::new("SELECT name, definition FROM meta");
        let rows: Vec<(String, String)> = sql.build_query_as().fetch_all(connection).await.map_err(Error::unavailable)?;
        Ok(Self(rows.into_iter().collect()))
    }

    /// What is noted under a name.
    pub(super) fn definition(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether nothing is noted under the name. [`Error::Incompatible`] if something else is.
    pub(super) fn lack(&self, name: &str, definition: &str) -> Result<bool> {
        match self.definition(name) {
            None => Ok(true),
            Some(noted) if noted == definition => Ok(false),
            Some(noted) => Err(Error::Incompatible(format!(
                "{name} was made as \"{noted}\" and this program needs \"{definition}\"; a changed field needs a new name"
            ))),
        }
    }
}

/// Notes a definition under a name, in the place of what was there.
pub(super) async fn note<DB: Database>(connection: &mut DB::Connection, name: &str, definition: &str) -> Result<()>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    let mut sql = QueryBuilder::new("INSERT INTO meta (name, definition) VALUES (");
    sql.push_bind(name.to_owned()).push(", ").push_bind(definition.to_owned());
    sql.push(") ON CONFLICT (name) DO UPDATE SET definition = excluded.definition");
    sql.build().execute(connection).await.map(drop).map_err(Error::unavailable)
}
