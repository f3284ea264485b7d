//! Tables that grow while others work with them.
//!
//! Older programs serve meanwhile, and know nothing of what is added. So a column of a table that is there already is no generated one,
//! which would be computed for all rows under a lock that stops everybody; it is an empty column with a trigger that fills it in every
//! row that anybody writes from then on, both made in a moment, and after that the other rows are filled a few at a time. Its indexes
//! are built beside the writers, and what refers to another table is promised first and then proved.
//!
//! Every step is noted in the transaction that does it, or finds out whether it was done, so a process that is killed at any of them
//! is followed by the next one that starts. One session does it at a time; other nodes that start wait for it, since they
//! cannot answer questions about a column that is half filled.

mod column;
mod failure;
mod fill;
mod index;
mod reference;
mod session;
mod turns;

use std::collections::BTreeSet;

use sqlx::{PgPool, Postgres};
use tfe_core::record::Kind;

pub use self::turns::SCHEMA_LOCK_TIMEOUT;
use self::{column::Column, session::Session};
use super::{
    format,
    parts::{self, Part, Shape},
    transaction,
};
use crate::error::Result;

/// Brings a database that others may be working with up to the kinds; returns when all of it is there.
pub(in crate::sql) async fn reconcile(pool: &PgPool, kinds: &[&'static Kind]) -> Result<()> {
    let parts = parts::of::<Postgres>(kinds)?;
    let left = transaction::add(pool, &parts).await?;
    if left.is_empty() {
        return Ok(());
    }
    let mut session = Session::open(pool).await?;
    let grown = grow(&mut session, &left).await;
    session.close().await;
    grown
}

/// Columns before indexes, which are built faster on what is full; references last, since a deletion looks for what refers to
/// it, and does so by an index.
async fn grow(session: &mut Session, parts: &[Part]) -> Result<()> {
    // Another node may have done it in the meantime, or be newer.
    let notes = session.notes().await?;
    format::check(&notes)?;
    let mut missing = Vec::new();
    for part in parts {
        if notes.lack(&part.name, &part.definition)? {
            missing.push(part);
        }
    }
    let columns: Vec<_> = missing.iter().filter_map(|part| Column::of(part)).collect();
    for table in columns.iter().map(|column| column.table).collect::<BTreeSet<_>>() {
        let columns: Vec<_> = columns.iter().filter(|column| column.table == table).collect();
        column::add(session, &notes, table, &columns).await?;
        fill::fill(session, &notes, table, &columns).await?;
    }
    for part in missing {
        if let Shape::Index(index) = &part.shape {
            index::build(session, part, index).await?;
        }
    }
    for column in &columns {
        reference::prove(session, column).await?;
        column::finish(session, column).await?;
    }
    for (name, definition) in format::news(&notes)? {
        session.note(name, &definition).await?;
    }
    Ok(())
}
