//! Filling new columns in the rows that nobody has written since they were added.
//!
//! Which rows are left is seen from the rows: those whose column is not what the body says. A fill that was cut off begins again at
//! the first row and passes quickly over what is done. It never waits for a row that somebody holds, and so can neither be in a
//! circle of waiters nor keep its own rows while it waits; it comes back for that row.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::time::Instant;

use super::{
    column::{Column, FILLED},
    session::Session,
    turns::Turns,
};
use crate::{
    error::{Error, Result},
    sql::{outage, schema::notes::Notes},
};

/// How long a transaction may take before the next ones get fewer rows: whoever wants one of its rows waits for its end.
const PAGE_TIME: Duration = Duration::from_millis(100);
/// Most and fewest rows in one transaction: with small bodies a thousand take a part of that time; with the largest, twenty do.
const MOST_ROWS: i64 = 1_000;
const FEWEST_ROWS: i64 = 20;
/// The part of the time that is left to others: a rest after each page of its own time divided by this.
const REST: u32 = 4;
/// How often it is said how far it is.
const REPORT: Duration = Duration::from_secs(10);

/// What became of a page of rows.
#[derive(Debug)]
struct Filled {
    /// Its last id; none at the end of the table.
    last: Option<String>,
    /// How many rows it has.
    seen: i64,
    /// How many of them were not filled.
    wanting: i64,
    /// How many of these are filled now. The others were held by somebody.
    filled: i64,
}

/// Where a page begins.
#[derive(Debug, Clone)]
enum Place {
    Beginning,
    After(String),
}

/// How far the passes through the table have come.
#[derive(Debug)]
struct Progress {
    /// Where the next page begins.
    place: Place,
    /// Where the next pass begins, if one is needed.
    again: Option<Place>,
    /// How many rows the next page has.
    rows: i64,
    /// Rows that were looked at, and filled, in all passes.
    seen: i64,
    filled: i64,
}

/// Fills all columns of a table that are not filled yet, in one pass.
pub(super) async fn fill(session: &mut Session, notes: &Notes, table: &str, columns: &[&Column<'_>]) -> Result<()> {
    let mut open = Vec::new();
    for column in columns {
        if column.lacks(FILLED, notes)? {
            open.push(*column);
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    let progress = rows(session, table, &open).await?;
    tracing::info!(table, seen = progress.seen, filled = progress.filled, seconds = begun.elapsed().as_secs(), "filled new columns");
    for column in open {
        column.reach(session, FILLED).await?;
    }
    Ok(())
}

async fn rows(session: &mut Session, table: &str, columns: &[&Column<'_>]) -> Result<Progress> {
    let mut progress = Progress { place: Place::Beginning, again: None, rows: MOST_ROWS, seen: 0, filled: 0 };
    let mut turns = Turns::new(table);
    let mut reported = Instant::now();
    loop {
        let begun = Instant::now();
        let page = page(session, table, columns, &progress).await?;
        if page.filled > 0 {
            turns.renew();
        }
        progress.seen += page.seen;
        progress.filled += page.filled;
        if page.filled < page.wanting {
            progress.again.get_or_insert_with(|| progress.place.clone());
        }
        if reported.elapsed() >= REPORT {
            tracing::info!(table, seen = progress.seen, filled = progress.filled, "filling new columns");
            reported = Instant::now();
        }
        let Some(last) = page.last else {
            let Some(again) = progress.again.take() else { return Ok(progress) };
            progress.place = again;
            turns.next(Error::unavailable(format!("rows of {table} are held by others"))).await?;
            continue;
        };
        progress.place = Place::After(last);
        let took = begun.elapsed();
        progress.rows = if took > PAGE_TIME { progress.rows / 2 } else { progress.rows * 2 }.clamp(FEWEST_ROWS, MOST_ROWS);
        tokio::time::sleep(took / REST).await;
    }
}

async fn page(session: &mut Session, table: &str, columns: &[&Column<'_>], progress: &Progress) -> Result<Filled> {
    // Even an empty id is an id.
    let (bound, id) = match &progress.place {
        Place::Beginning => ("id >= $1", ""),
        Place::After(id) => ("id > $1", id.as_str()),
    };
    let page = sqlx::query_as(AssertSqlSafe(statement(table, columns, bound))).bind(id).bind(progress.rows);
    let page = outage::limited(page.fetch_one(session.connection())).await.map_err(outage::explained)?;
    let (last, seen, wanting, filled): (Option<String>, i64, i64, i64) = page;
    Ok(Filled { last, seen, wanting, filled })
}

/// Fills a page of rows beyond a bound. Arrays of ids instead of joins: the database then goes by the key, however little it knows of
/// the table.
fn statement(table: &str, columns: &[&Column<'_>], bound: &str) -> String {
    let list = |part: &dyn Fn(&Column<'_>) -> String| columns.iter().map(|column| part(column)).collect::<Vec<_>>().join(", ");
    let names = list(&|column| format!("\"{}\"", column.field.name));
    let values = list(&|column| column.value());
    let sets = list(&|column| format!("\"{}\" = {}", column.field.name, column.value()));
    format!(
        "WITH page AS MATERIALIZED (SELECT id, ROW({names}) IS DISTINCT FROM ROW({values}) AS wanting FROM \"{table}\" \
         WHERE {bound} ORDER BY id LIMIT $2), \
         free AS MATERIALIZED (SELECT id FROM \"{table}\" WHERE id = ANY (ARRAY(SELECT id FROM page WHERE wanting)) \
         FOR NO KEY UPDATE SKIP LOCKED), \
         filled AS (UPDATE \"{table}\" SET {sets} WHERE id = ANY (ARRAY(SELECT id FROM free)) RETURNING id) \
         SELECT (SELECT max(id) FROM page) AS last, (SELECT count(*) FROM page) AS seen, \
         (SELECT count(*) FROM page WHERE wanting) AS wanting, (SELECT count(*) FROM filled) AS filled"
    )
}
