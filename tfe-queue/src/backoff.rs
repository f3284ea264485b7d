//! Pauses between attempts.

use std::time::Duration;

/// The first pause: a broker that restarts is missed for about this long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause: how long a broker that is back may be overlooked.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Pauses that double up to a limit, with jitter, so that the nodes of an installation do not come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    /// Waits for half to all of the current pause.
    pub(crate) async fn pause(&mut self) {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST_PAUSE);
        // Without randomness all nodes wait for the longest.
        let part = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
        tokio::time::sleep(pause.mul_f64(0.5 + part / 2.0)).await;
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }
}
