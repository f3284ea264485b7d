//! Commits, and finding out what became of one whose answer was lost.
//!
//! A networked database can commit and lose the connection before it says so; repeating the batch could then do it
//! twice, and giving up could lose it. So each commit inserts a mark, a random name, in its own transaction. To find
//! out, the same mark is inserted once more: the database refuses it if the batch happened, waits if it is still
//! happening, and else the inserted mark makes sure that it never will. A failover in between changes nothing of this.

use std::fmt::Write as _;

use sqlx::{AssertSqlSafe, Connection, Decode, Encode, Executor, IntoArguments, SqlSafeStr, SqlStr, Type, error::ErrorKind, types::Json};

use super::{
    SqlStore,
    dialect::Dialect,
    outage::{self, Patience},
    statement,
};
use crate::{
    batch::Write,
    error::{Error, Result},
};

/// Bytes of chance in a mark: enough that no two ever meet.
const MARK_LENGTH: usize = 16;
/// One of so many commits clears old marks away; a clearing takes about as long as a commit.
const CLEARING: u8 = 255;
/// A mark is looked for within seconds, so those of an hour ago are of no use.
const CLEAR: &str = "DELETE FROM commits WHERE made_at < now() - interval '1 hour'";

/// What became of an attempt to commit.
pub(super) enum Outcome {
    /// It happened.
    Done,
    /// It did not happen, and the database said why.
    Refused(Error),
    /// It did not happen, since the database is away.
    Unreached(sqlx::Error),
    /// The database went away when it was asked to commit.
    Unknown(Mark, sqlx::Error),
}

/// The name under which a commit can be found.
pub(super) struct Mark(String);

impl Mark {
    fn new() -> Result<(Self, bool)> {
        let mut bytes = [0_u8; MARK_LENGTH + 1];
        getrandom::fill(&mut bytes).map_err(Error::unavailable)?;
        let mut name = String::with_capacity(2 * MARK_LENGTH);
        for byte in &bytes[1..] {
            let _ = write!(name, "{byte:02x}");
        }
        Ok((Self(name), bytes[0] == CLEARING))
    }

    /// Begins a transaction that leaves the mark, in one round trip. The name has hexadecimal digits only.
    fn begin<DB: Dialect>(&self) -> SqlStr {
        if DB::MARKS_COMMITS {
            AssertSqlSafe(format!("{}; INSERT INTO commits (id) VALUES ('{}')", DB::BEGIN, self.0)).into_sql_str()
        } else {
            DB::BEGIN.into_sql_str()
        }
    }
}

impl<DB: Dialect> SqlStore<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    DB::Arguments: IntoArguments<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Json<serde_json::Value>: Encode<'q, DB> + Type<DB>,
    usize: sqlx::ColumnIndex<DB::Row>,
{
    /// Tries once. A connection is not used again over which the database went away, or on which it gave up the
    /// transaction by itself, as SQLite does on a full disk: its client still counts that transaction.
    pub(super) async fn attempt(&self, writes: &[Write]) -> Outcome {
        let (mark, clears) = match Mark::new() {
            Ok(mark) => mark,
            Err(error) => return Outcome::Refused(error),
        };
        let mut connection = match outage::limited(self.write.acquire()).await {
            Ok(connection) => connection,
            Err(error) => return stopped(error),
        };
        let outcome = Self::transact(&mut connection, writes, mark).await;
        let is_broken = matches!(outcome, Outcome::Refused(Error::Full(_) | Error::Unavailable(_)));
        if is_broken || matches!(outcome, Outcome::Unreached(_) | Outcome::Unknown(..)) {
            connection.close_on_drop();
        } else if clears && DB::MARKS_COMMITS {
            // The next one does it if this fails.
            let _ = outage::limited((&mut *connection).execute(CLEAR)).await;
        }
        outcome
    }

    async fn transact(connection: &mut DB::Connection, writes: &[Write], mark: Mark) -> Outcome {
        let begun = outage::limited(connection.begin_with(mark.begin::<DB>())).await;
        let mut transaction = match begun {
            Ok(transaction) => transaction,
            Err(error) => return stopped(error),
        };
        for write in writes {
            let mut statement = statement::write(write);
            let hit = outage::limited(statement.build_query_scalar().fetch_optional(&mut *transaction)).await;
            match hit {
                Ok(Some(String { .. })) => {}
                Ok(None) => return Outcome::Refused(conflict(write)),
                Err(error) if outage::is_outage(&error) => return Outcome::Unreached(error),
                Err(error) => return Outcome::Refused(refusal(write, error)),
            }
        }
        match outage::limited(transaction.commit()).await {
            Ok(()) => Outcome::Done,
            Err(error) if DB::MARKS_COMMITS && outage::is_outage(&error) => Outcome::Unknown(mark, error),
            Err(error) => {
                Outcome::Refused(writes.last().map_or_else(|| Error::Unavailable("an empty batch".into()), |last| refusal(last, error)))
            }
        }
    }

    /// Whether the commit with this mark happened; if not, it never will.
    pub(super) async fn happened(&self, mark: &Mark, patience: &mut Patience) -> Result<bool> {
        loop {
            let mut insert = sqlx::QueryBuilder::<DB>::new("INSERT INTO commits (id) VALUES (");
            insert.push_bind(mark.0.clone()).push(")");
            match outage::limited(insert.build().execute(&self.write)).await {
                Ok(_) => return Ok(false),
                Err(error) if error.as_database_error().is_some_and(|cause| cause.kind() == ErrorKind::UniqueViolation) => return Ok(true),
                Err(error) if outage::is_outage(&error) && patience.wait().await => {}
                Err(error) => return Err(outage::explained(error)),
            }
        }
    }
}

fn stopped(error: sqlx::Error) -> Outcome {
    if outage::is_outage(&error) { Outcome::Unreached(error) } else { Outcome::Refused(outage::explained(error)) }
}

fn refusal(write: &Write, error: sqlx::Error) -> Error {
    let kind = write.kind().name;
    let Some(cause) = error.as_database_error() else { return Error::unavailable(error) };
    match cause.kind() {
        ErrorKind::UniqueViolation => Error::AlreadyExists { kind },
        ErrorKind::ForeignKeyViolation => Error::Dangling { kind },
        _ if is_collision(cause.code().as_deref()) => conflict(write),
        _ => outage::explained(error),
    }
}

/// Whether `PostgreSQL` gave up on a transaction because of another one: a serialization failure or a deadlock.
fn is_collision(code: Option<&str>) -> bool {
    matches!(code, Some("40001" | "40P01"))
}

fn conflict(write: &Write) -> Error {
    Error::Conflict { kind: write.kind().name, id: write.id().to_owned() }
}
