//! The session that changes the schema, one in all processes.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres};
use tokio::time::Instant;

use super::{
    failure,
    turns::{SCHEMA_LOCK_TIMEOUT, Turns},
};
use crate::{
    error::{Error, Result},
    sql::{
        outage,
        schema::notes::{self, Notes},
    },
};

/// Asks for the lock of the session, whose first number is "tfe" in ASCII, and whose second one means this only. It is asked for and
/// not waited for: a statement that waits keeps an old view of all rows, and an index is only done when there are none.
const LOCK: &str = "SELECT pg_try_advisory_lock(7628389, 1)";
/// How often it is asked for.
const LOCK_PAUSE: Duration = Duration::from_millis(200);
/// How long it is asked for, and how long one statement may take: more than an index of the largest table needs.
const LONGEST: Duration = Duration::from_hours(12);
/// Long statements are bounded by [`LONGEST`] here. A session that nobody uses gives its lock back: its process hangs, or its machine is
/// lost; between two statements there are seconds at most. Plans are made for the values at hand, since a page of rows is small whatever
/// the database guesses.
const SETTINGS: &str =
    "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = '1min'; SET plan_cache_mode = force_custom_plan";

/// A connection that has the lock.
#[derive(Debug)]
pub(super) struct Session(PgConnection);

impl Session {
    /// Connects and waits for the lock.
    pub(super) async fn open(pool: &PgPool) -> Result<Self> {
        let mut connection = outage::limited(PgConnection::connect_with(&pool.connect_options())).await.map_err(outage::explained)?;
        outage::limited(connection.execute(sqlx::raw_sql(SETTINGS))).await.map_err(outage::explained)?;
        let ends = Instant::now() + LONGEST;
        let mut is_first = true;
        loop {
            let asked = sqlx::query_scalar(LOCK).fetch_one(&mut connection);
            if outage::limited(asked).await.map_err(outage::explained)? {
                return Ok(Self(connection));
            }
            if Instant::now() >= ends {
                return Err(Error::unavailable("another node is still changing the schema"));
            }
            if std::mem::take(&mut is_first) {
                tracing::info!("another node changes the schema; waiting for it");
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }

    /// Ends it, and with it the lock.
    pub(super) async fn close(self) {
        // Whatever goes wrong with that, the database ends the session when the connection is gone.
        let _ = outage::limited(self.0.close()).await;
    }

    /// What is noted now.
    pub(super) async fn notes(&mut self) -> Result<Notes> {
        Notes::read::<Postgres>(&mut self.0).await
    }

    /// Notes something.
    pub(super) async fn note(&mut self, name: &str, definition: &str) -> Result<()> {
        notes::note::<Postgres>(&mut self.0, name, definition).await
    }

    /// Runs statements as one transaction whose locks are short, as often as it takes to get them. All are sent at once: a process that
    /// hangs in between would keep the locks.
    pub(super) async fn briefly(&mut self, what: &str, statements: &[String]) -> Result<()> {
        let script = format!("SET LOCAL lock_timeout = {}; {}", SCHEMA_LOCK_TIMEOUT.as_millis(), statements.join("; "));
        let mut turns = Turns::new(what);
        loop {
            let run = self.0.execute(sqlx::raw_sql(AssertSqlSafe(script.clone())));
            match outage::limited(run).await.map(drop).map_err(outage::explained) {
                Err(error) if failure::is_contention(&error) => turns.next(error).await?,
                done => return done,
            }
        }
    }

    /// Runs a statement that takes long and whose locks stop nobody.
    pub(super) async fn at_length(&mut self, statement: String) -> Result<()> {
        let run = self.0.execute(sqlx::raw_sql(AssertSqlSafe(statement)));
        match tokio::time::timeout(LONGEST, run).await {
            Ok(done) => done.map(drop).map_err(outage::explained),
            Err(_) => Err(Error::unavailable("a change of the schema takes too long")),
        }
    }

    /// The connection, for questions that are answered at once.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
