//! Time in a simulated world: tokio's paused clock, which jumps to the next timer when nobody can go on, and on each node a clock
//! that follows it and may be wrong.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use tfe_core::time::{Clock, Timestamp};
use tokio::time::Instant;

/// When every world begins, in milliseconds since 1970.
const BEGINNING: i64 = 1_700_000_000_000;

/// The clock of a node.
#[derive(Debug)]
pub(super) struct NodeClock {
    began: Instant,
    wrong_by_millis: AtomicI64,
    latest: AtomicI64,
}

impl NodeClock {
    /// A right clock in a world that began then.
    pub(super) fn new(began: Instant) -> Self {
        Self { began, wrong_by_millis: AtomicI64::new(0), latest: AtomicI64::new(0) }
    }

    /// From now on it is wrong by so much.
    pub(super) fn step_to(&self, wrong_by_millis: i64) {
        self.now();
        self.wrong_by_millis.store(wrong_by_millis, Relaxed);
    }

    /// The latest time that it ever showed: what a decision may have been made by.
    pub(super) fn latest(&self) -> Timestamp {
        self.now();
        Timestamp::from_millis(self.latest.load(Relaxed))
    }
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.began.elapsed().as_millis()).expect("worlds are short");
        let shown = BEGINNING + passed + self.wrong_by_millis.load(Relaxed);
        self.latest.fetch_max(shown, Relaxed);
        Timestamp::from_millis(shown)
    }
}
