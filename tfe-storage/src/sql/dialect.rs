//! All in which the two databases differ, apart from opening them.

use sqlx::Database;

/// A database that a [`SqlStore`](super::SqlStore) can use.
pub trait Dialect: Database {
    /// How a transaction that writes begins.
    const BEGIN: &'static str;
    /// How a transaction begins that sees everything as it is at its first read. It may be idle for as long as a slow object store
    /// takes what was read.
    const VIEW: &'static str;
    /// The type of texts, ordered by their bytes.
    const TEXT: &'static str;
    /// The type of bodies; a JSON value for the operators `->` and `->>`.
    const BODY: &'static str;
    /// How a generated column is kept.
    const GENERATED: &'static str;
    /// What a SELECT says to keep others from changing the row until the transaction ends.
    const KEEP: &'static str;
    /// Whether the database is behind a network, where the answer to a commit can be lost: then every commit leaves a
    /// mark by which its outcome is found.
    const MARKS_COMMITS: bool;
    /// What comes before a select to get its plan instead.
    const EXPLAIN: &'static str;
    /// What makes plans independent of how much is in a table, before one is asked for.
    const PREPARE_EXPLAIN: &'static [&'static str];
    /// Whether several programs work with it at the same time, so that tables must grow while others use them.
    const IS_SHARED: bool;
    /// What begins a change of the schema, so that programs that start together do it one after another.
    const PREPARE_SCHEMA: &'static [&'static str];
}

#[cfg(feature = "sqlite")]
impl Dialect for sqlx::Sqlite {
    // A deferred transaction that reads first fails at once when another one writes, whatever the busy timeout.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const VIEW: &'static str = "BEGIN DEFERRED";
    const TEXT: &'static str = "TEXT";
    const BODY: &'static str = "TEXT";
    // A stored column cannot be added to a table with rows.
    const GENERATED: &'static str = "VIRTUAL";
    // There is only one writer.
    const KEEP: &'static str = "";
    const MARKS_COMMITS: bool = false;
    const EXPLAIN: &'static str = "EXPLAIN QUERY PLAN ";
    const PREPARE_EXPLAIN: &'static [&'static str] = &[];
    const IS_SHARED: bool = false;
    const PREPARE_SCHEMA: &'static [&'static str] = &[];
}

#[cfg(feature = "postgres")]
impl Dialect for sqlx::Postgres {
    const BEGIN: &'static str = "BEGIN";
    const VIEW: &'static str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = '10min'";
    // SQLite's own order; other collations depend on the server's operating system.
    const TEXT: &'static str = "TEXT COLLATE \"C\"";
    const BODY: &'static str = "JSONB";
    // The only way before version 18.
    const GENERATED: &'static str = "STORED";
    const KEEP: &'static str = " FOR SHARE";
    const MARKS_COMMITS: bool = true;
    const EXPLAIN: &'static str = "EXPLAIN ";
    // Small tables are read whole whatever indexes there are; what remains a scan then has no index.
    const PREPARE_EXPLAIN: &'static [&'static str] = &["SET LOCAL enable_seqscan = off"];
    const IS_SHARED: bool = true;
    // Releases that fill new columns while they have the lock may take longer than any statement should otherwise. The number
    // of the lock is "tfe" in ASCII and means this only.
    const PREPARE_SCHEMA: &'static [&'static str] = &["SET LOCAL statement_timeout = 0", "SELECT pg_advisory_xact_lock(7628389)"];
}
