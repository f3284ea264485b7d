//! What the nodes of an installation share for a while, next to the queue.
//!
//! Nothing here is truth. Values may be gone at any time, and counts may begin again; whoever uses them has another
//! way that is slower or less exact.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::signals::Signals;

/// Largest value of a cache, in bytes. What is larger is not worth a trip to another machine.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// All that nodes share: signals, a cache and counters, in one backend.
///
/// An `Arc<dyn Coordination>` is an `Arc<dyn Signals>`, an `Arc<dyn Cache>` and an `Arc<dyn Counters>` too.
#[async_trait]
pub trait Coordination: Signals + Cache + Counters {
    /// Whether other nodes can be reached now: notices are heard, and values and counts are shared. Bounded in time.
    async fn check(&self) -> Result<(), CoordinationError> {
        Ok(())
    }
}

/// Keeps small values that can be made again, in a cache that all nodes share.
///
/// Keys are free text such as `token:abc`. Every call is bounded in time.
#[async_trait]
pub trait Cache: fmt::Debug + Send + Sync + 'static {
    /// The value of a key, if it was put less than its time to live ago and is not lost.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, CoordinationError>;

    /// Puts a value in the place of any former one, for `time_to_live`. At most [`MAX_VALUE_BYTES`] are taken.
    async fn put(&self, key: &str, value: &[u8], time_to_live: Duration) -> Result<(), CoordinationError>;

    /// Takes a value away. After an error the former value may be seen until its time to live has passed.
    async fn remove(&self, key: &str) -> Result<(), CoordinationError>;
}

/// Counts what happens in fixed windows of time, over all nodes, for rate limits.
#[async_trait]
pub trait Counters: fmt::Debug + Send + Sync + 'static {
    /// Counts one more for the key. The first begins a window, and all until its end count together.
    ///
    /// Atomic: of all calls in one window each gets a count of its own. A key is used with one length of window only.
    async fn count(&self, key: &str, window: Duration) -> Result<Count, CoordinationError>;
}

/// How often something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// How often in the current window, with this one.
    pub count: u64,
    /// How long from now until the window ends and counting begins again.
    pub ends_in: Duration,
}

/// Why something could not be shared, by what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinationError {
    /// The value is larger than a cache takes. Go on without the cache.
    #[error("the value is larger than {MAX_VALUE_BYTES} bytes")]
    TooLarge,
    /// The backend cannot be reached or failed. Go on without it and try again later.
    #[error("the coordination service is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Refuses what no cache takes.
pub(crate) fn check_size(value: &[u8]) -> Result<(), CoordinationError> {
    if value.len() > MAX_VALUE_BYTES { Err(CoordinationError::TooLarge) } else { Ok(()) }
}
