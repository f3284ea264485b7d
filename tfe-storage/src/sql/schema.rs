//! The schema, derived from the kinds and brought up to them at every start.
//!
//! It only ever grows: missing tables, columns and indexes are added, nothing is changed or dropped, so that an older
//! program goes on working beside a newer one. What was added is noted in the table `meta`, together with its
//! definition; a column that a program defines differently is an error and not a silent difference.
//!
//! What bodies mean can change in a way that older programs would get wrong. So the newest program notes its format there, and the
//! oldest one with which its data may still be written; a program that is older than that changes nothing and says so.

use std::collections::HashMap;

use sqlx::{ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, QueryBuilder, Transaction, Type};
use tfe_core::record::{Field, Kind};

use super::dialect::Dialect;
use crate::error::{Error, Result};

/// The format of what this program writes. Raised when the meaning of a body changes.
const FORMAT: u32 = 1;
/// The oldest format whose programs may work on the same data as this one. Raised at the earliest one release after [`FORMAT`] was
/// raised for the change in question, so that neighbouring releases can always run side by side, in both directions.
const OLDEST: u32 = 1;
/// The release that a refused program names.
const RELEASE: &str = env!("CARGO_PKG_VERSION");
/// The names in `meta` of the newest format that wrote, of the oldest that may, and of the release that noted both.
const FORMAT_NAME: &str = "format";
const OLDEST_NAME: &str = "format oldest";
const RELEASE_NAME: &str = "format release";
/// Longest name of a table, column or index; `PostgreSQL` cuts longer ones, and two could become one.
const MAX_NAME_LENGTH: usize = 63;

/// A table, column or index.
#[derive(Debug)]
struct Part {
    /// Its name in `meta`.
    name: String,
    /// What it means, independent of the database.
    definition: String,
    /// The statement that adds it.
    sql: String,
}

/// Adds what is missing, all or nothing.
pub(super) async fn reconcile<DB: Dialect>(pool: &Pool<DB>, kinds: &[&'static Kind]) -> Result<()>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    usize: ColumnIndex<DB::Row>,
{
    let parts = parts::<DB>(kinds)?;
    let mut transaction = pool.begin_with(DB::BEGIN).await.map_err(Error::unavailable)?;
    for sql in DB::PREPARE_SCHEMA {
        run(&mut transaction, QueryBuilder::new(*sql)).await?;
    }
    run(&mut transaction, QueryBuilder::new("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, definition TEXT NOT NULL)")).await?;
    let mut notes = QueryBuilder::<DB>::new("SELECT name, definition FROM meta");
    let notes: Vec<(String, String)> = notes.build_query_as().fetch_all(&mut *transaction).await.map_err(Error::unavailable)?;
    let notes = notes.into_iter().collect();
    check_format(&notes)?;
    for part in parts {
        if is_missing(&part, &notes)? {
            tracing::debug!(part = part.name, "adding to the schema");
            run(&mut transaction, QueryBuilder::new(part.sql)).await?;
            note(&mut transaction, part.name, part.definition).await?;
        }
    }
    if is_outdated(&notes)? {
        for (name, value) in [(FORMAT_NAME, FORMAT.to_string()), (OLDEST_NAME, OLDEST.to_string()), (RELEASE_NAME, RELEASE.to_owned())] {
            note(&mut transaction, name.to_owned(), value).await?;
        }
    }
    transaction.commit().await.map_err(Error::unavailable)
}

fn check_format(notes: &HashMap<String, String>) -> Result<()> {
    let newest = number(notes, FORMAT_NAME)?.unwrap_or(FORMAT);
    // Releases before the oldest was noted followed no format but their own.
    let oldest = number(notes, OLDEST_NAME)?.unwrap_or(newest);
    if oldest <= FORMAT {
        return Ok(());
    }
    let writer = notes.get(RELEASE_NAME).map_or("a newer release", String::as_str);
    Err(Error::Incompatible(format!(
        "{writer} wrote it in format {newest}, which programs of format {oldest} and newer can follow, and this is {RELEASE} of format \
         {FORMAT}; nothing was changed; start {writer} or newer"
    )))
}

/// Whether the notes are of an older program than this one, or there are none.
fn is_outdated(notes: &HashMap<String, String>) -> Result<bool> {
    let (newest, oldest) = (number(notes, FORMAT_NAME)?, number(notes, OLDEST_NAME)?);
    Ok(newest.is_none_or(|newest| newest < FORMAT) || (newest == Some(FORMAT) && oldest.is_none_or(|oldest| oldest < OLDEST)))
}

fn number(notes: &HashMap<String, String>, name: &str) -> Result<Option<u32>> {
    let parsed = |text: &String| text.parse().map_err(|_| Error::Incompatible(format!("its {name} is \"{text}\", which is no number")));
    notes.get(name).map(parsed).transpose()
}

fn is_missing(part: &Part, notes: &HashMap<String, String>) -> Result<bool> {
    match notes.get(&part.name) {
        None => Ok(true),
        Some(definition) if *definition == part.definition => Ok(false),
        Some(definition) => Err(Error::Incompatible(format!(
            "{} was made as \"{definition}\" and this program needs \"{}\"; a changed field needs a new name",
            part.name, part.definition
        ))),
    }
}

async fn note<DB: Database>(transaction: &mut Transaction<'_, DB>, name: String, definition: String) -> Result<()>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    let mut sql = QueryBuilder::new("INSERT INTO meta (name, definition) VALUES (");
    sql.push_bind(name).push(", ").push_bind(definition).push(") ON CONFLICT (name) DO UPDATE SET definition = excluded.definition");
    run(transaction, sql).await
}

async fn run<DB: Database>(transaction: &mut Transaction<'_, DB>, mut sql: QueryBuilder<DB>) -> Result<()>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
{
    sql.build().execute(&mut **transaction).await.map(drop).map_err(Error::unavailable)
}

/// Marks of commits; the database's own clock says when one is old enough to go.
fn marks() -> Part {
    let columns = "id TEXT PRIMARY KEY, made_at TIMESTAMPTZ NOT NULL DEFAULT now()";
    let sql = format!("CREATE TABLE IF NOT EXISTS commits ({columns})");
    Part { name: "table commits".to_owned(), definition: "marks".to_owned(), sql }
}

/// All tables, then all columns, then all indexes: a column may refer to any table, even its own.
fn parts<DB: Dialect>(kinds: &[&'static Kind]) -> Result<Vec<Part>> {
    let tables = kinds.iter().map(|kind| table::<DB>(kind));
    let columns = kinds.iter().flat_map(|kind| kind.fields.iter().map(|field| column::<DB>(kind, field)));
    let marks = DB::MARKS_COMMITS.then(marks);
    let parts: Vec<_> = marks.into_iter().chain(tables).chain(columns).chain(kinds.iter().flat_map(|kind| indexes(kind))).collect();
    let is_too_long = |part: &&Part| part.name.split([' ', '.']).any(|name| name.len() > MAX_NAME_LENGTH);
    match parts.iter().find(is_too_long) {
        None => Ok(parts),
        Some(part) => Err(Error::Incompatible(format!("{} has a name of more than {MAX_NAME_LENGTH} letters", part.name))),
    }
}

fn table<DB: Dialect>(kind: &Kind) -> Part {
    let (text, body) = (DB::TEXT, DB::BODY);
    let columns = format!("id {text} PRIMARY KEY, created_at BIGINT NOT NULL, version BIGINT NOT NULL, body {body} NOT NULL");
    let sql = format!("CREATE TABLE \"{}\" ({columns})", kind.name);
    Part { name: format!("table {}", kind.name), definition: "records".to_owned(), sql }
}

fn column<DB: Dialect>(kind: &Kind, field: &Field) -> Part {
    let (table, column, text, generated) = (kind.name, field.name, DB::TEXT, DB::GENERATED);
    let (references, of) = match field.refers {
        Some(target) => (format!("REFERENCES \"{target}\" (id) ON DELETE CASCADE"), format!(" of {target}")),
        None => (String::new(), String::new()),
    };
    let value = json_path(field.path);
    let sql = format!("ALTER TABLE \"{table}\" ADD COLUMN \"{column}\" {text} GENERATED ALWAYS AS ({value}) {generated} {references}");
    let definition = field.path.join(".") + &of;
    Part { name: format!("column {table}.{column}"), definition, sql }
}

/// The text at a path of the body: `body -> 'settings' ->> 'name'`.
fn json_path(path: &[&str]) -> String {
    let last = path.len().saturating_sub(1);
    let steps = path.iter().enumerate().map(|(index, key)| if index == last { format!(" ->> '{key}'") } else { format!(" -> '{key}'") });
    steps.fold("body".to_owned(), |path, step| path + &step)
}

/// The unique groups; the indexes, each continued by the default order of lists; that order alone; and an index for
/// every reference that has none yet, since deleting a record looks for all that refer to it.
fn indexes(kind: &'static Kind) -> Vec<Part> {
    let leads = |field: &Field| kind.unique.iter().chain(kind.indexes).any(|group| group.first() == Some(&field.name));
    let references = kind.fields.iter().filter(|field| field.refers.is_some() && !leads(field)).map(|field| vec![field.name]);
    let ordered = |fields: Vec<&'static str>| index(kind, "INDEX", &[fields, vec!["created_at", "id"]].concat());
    let unique = kind.unique.iter().map(|group| index(kind, "UNIQUE INDEX", group));
    let groups = kind.indexes.iter().map(|group| group.to_vec()).chain(references).chain([vec![]]);
    unique.chain(groups.map(ordered)).collect()
}

fn index(kind: &Kind, what: &str, fields: &[&str]) -> Part {
    let ending = if what == "INDEX" { "idx" } else { "key" };
    let name = format!("{}_{}_{ending}", kind.name, fields.join("_"));
    let columns: Vec<_> = fields.iter().map(|field| format!("\"{field}\"")).collect();
    let sql = format!("CREATE {what} \"{name}\" ON \"{}\" ({})", kind.name, columns.join(", "));
    Part { name: format!("index {name}"), definition: format!("{} ({})", what.to_lowercase(), fields.join(", ")), sql }
}
