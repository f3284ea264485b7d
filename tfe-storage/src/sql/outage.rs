//! Telling an outage from an error, and waiting while it lasts.
//!
//! A database that fails over is away for some seconds. Calls wait for it that long instead of failing, which is safe
//! for reads and for commits that did not begin; those with an unknown outcome look for it first.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;

/// How long a call waits for a database that is away: longer than a failover takes, shorter than clients wait.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one attempt may take, in case the network swallows everything: longer than the database's own limits.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);
/// The first and the longest pause between two attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long to go on trying.
#[derive(Debug)]
pub(super) struct Patience {
    ends: Instant,
    pause: Duration,
}

impl Patience {
    /// Patience from now on.
    pub(super) fn new() -> Self {
        Self { ends: Instant::now() + PATIENCE, pause: FIRST_PAUSE }
    }

    /// Pauses for a random time below a bound that doubles, and says whether another attempt is due.
    pub(super) async fn wait(&mut self) -> bool {
        let bound = u64::try_from(self.pause.as_micros()).unwrap_or(u64::MAX).max(1);
        // Without randomness the pause is the bound: still correct, only less fair.
        let micros = getrandom::u64().map_or(bound, |random| random % bound);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tokio::time::sleep(Duration::from_micros(micros)).await;
        Instant::now() < self.ends
    }
}

/// The call, or an outage if it takes too long.
pub(super) async fn limited<T>(call: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(CALL_TIMEOUT, call).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Whether the database is away, rather than saying no.
pub(super) fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| is_outage_code(&code)),
        _ => false,
    }
}

/// Codes of `PostgreSQL`: connection failures, shutdown and start, no free connection, and a server that only reads
/// because it is no primary (any more).
fn is_outage_code(code: &str) -> bool {
    code.starts_with("08") || matches!(code, "57P01" | "57P02" | "57P03" | "53300" | "25006")
}

/// The error for the caller: no space, or not available.
pub(super) fn explained(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|cause| cause.code().map(std::borrow::Cow::into_owned));
    match code.as_deref() {
        // PostgreSQL's disk_full and SQLite's SQLITE_FULL.
        Some("53100" | "13") => Error::Full(error.into()),
        _ => Error::unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_by_itself_is_an_outage() {
        for code in ["08006", "57P01", "57P03", "25006"] {
            assert!(is_outage_code(code), "{code}");
        }
        for code in ["23505", "28P01", "42P01", "57014", "53100", "13"] {
            assert!(!is_outage_code(code), "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let begun = Instant::now();
        let mut patience = Patience::new();
        let mut attempts = 0;
        while patience.wait().await {
            attempts += 1;
        }
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE + LONGEST_PAUSE);
        assert!(attempts > 20, "{attempts} attempts");
    }
}
