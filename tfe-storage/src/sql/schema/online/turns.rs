//! Trying until nobody is in the way.
//!
//! Whoever waits for a lock on a table makes all who come later wait behind it, even if what it waits for is only a long read.
//! So no step waits for one longer than a moment, and then leaves the table to the others before it tries again.

use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result};

/// How long a change of the schema waits for a lock on a table: less than anybody notices, and more than a commit takes. It locks one
/// table, or two where one refers to the other, so nobody waits behind it for longer than twice this time.
pub const SCHEMA_LOCK_TIMEOUT: Duration = Duration::from_millis(200);
/// How long it is tried: longer than the longest read, a snapshot of a large installation. The older programs serve meanwhile.
const PATIENCE: Duration = Duration::from_mins(30);
/// Bounds of the pause between two attempts, in which others work undisturbed: at first as long as an attempt, and at last ten times
/// as long on average.
const FIRST_PAUSE: Duration = SCHEMA_LOCK_TIMEOUT;
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Attempts at one step.
#[derive(Debug)]
pub(super) struct Turns<'a> {
    what: &'a str,
    ends: Instant,
    pause: Duration,
}

impl<'a> Turns<'a> {
    /// Attempts from now on at something with that name.
    pub(super) fn new(what: &'a str) -> Self {
        Self { what, ends: Instant::now() + PATIENCE, pause: FIRST_PAUSE }
    }

    /// Pauses until the next attempt is due after one that ended with an error; gives that back after the last one.
    pub(super) async fn next(&mut self, error: Error) -> Result<()> {
        if self.pause == FIRST_PAUSE {
            tracing::info!(what = self.what, "others are in the way of a change of the schema; trying again");
        }
        if Instant::now() >= self.ends {
            tracing::warn!(
                what = self.what,
                minutes = PATIENCE.as_secs() / 60,
                "others were in the way of a change of the schema all the time"
            );
            return Err(error);
        }
        // A random part of it, so that nodes that start together get out of step.
        let bound = u64::try_from(self.pause.as_micros()).unwrap_or(u64::MAX).max(1);
        let extra = getrandom::u64().map_or(bound, |random| random % bound);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tokio::time::sleep(FIRST_PAUSE + Duration::from_micros(extra)).await;
        Ok(())
    }

    /// Counts the patience anew, after some progress.
    pub(super) fn renew(&mut self) {
        *self = Self::new(self.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn others_have_most_of_the_time_and_it_ends() {
        let (begun, mut attempts) = (Instant::now(), 0_u32);
        let mut turns = Turns::new("a table");
        while turns.next(Error::unavailable("a lock")).await.is_ok() {
            attempts += 1;
        }
        assert!(begun.elapsed() >= PATIENCE && begun.elapsed() < PATIENCE + FIRST_PAUSE + LONGEST_PAUSE);
        assert!(SCHEMA_LOCK_TIMEOUT * attempts * 5 < begun.elapsed(), "{attempts} attempts");
    }
}
