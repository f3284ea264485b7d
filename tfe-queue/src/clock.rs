//! Times that clocks can count.

use std::time::Duration;

use tokio::time::Instant;

/// Stands for "for ever" where a longer time would be beyond what clocks and brokers can count.
pub(crate) const FOR_EVER: Duration = Duration::from_hours(30 * 365 * 24);

/// The time after `delay`.
pub(crate) fn later(delay: Duration) -> Instant {
    Instant::now() + delay.min(FOR_EVER)
}

/// A duration in milliseconds, rounded up, so that what must not come before it does not.
#[cfg(any(feature = "redis", feature = "amqp"))]
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    duration.min(FOR_EVER).as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX)
}
