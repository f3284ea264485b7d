//! The schema, derived from the kinds and brought up to them at every start.
//!
//! It only ever grows: missing tables, columns and indexes are added, nothing is changed or dropped, so that an older
//! program goes on working beside a newer one. What was added is noted in the table `meta`, together with its
//! definition; a column that a program defines differently is an error and not a silent difference.
//!
//! An embedded database has one program, so everything is added in one transaction. With others at work in the same
//! database that is so for new tables only, which nobody uses yet; how others grow, and those that refer to them, is in [`online`].

mod format;
mod notes;
#[cfg(feature = "postgres")]
pub(super) mod online;
mod parts;
mod transaction;

#[cfg(feature = "sqlite")]
use {crate::error::Result, sqlx::SqlitePool, tfe_core::record::Kind};

/// Brings an embedded database up to the kinds, all or nothing.
#[cfg(feature = "sqlite")]
pub(super) async fn reconcile(pool: &SqlitePool, kinds: &[&'static Kind]) -> Result<()> {
    transaction::add(pool, &parts::of::<sqlx::Sqlite>(kinds)?).await.map(drop)
}
