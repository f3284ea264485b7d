//! The contract of a queue.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::hint::Hint;

/// How long a receiver usually may take before its hint is given to another one. Acting on a hint is a few reads and one
/// commit; longer work has a lease in the store.
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest that a call waits for a broker which is there but does not answer. Ten times what a loaded broker needs,
/// and short enough for a request in which nobody would miss the call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Carries hints to workers.
///
/// A hint is delivered to one receiver at a time, at least once, in no promised order. Of equal hints that wait at
/// the same time some may be left out. A delivery that is neither acknowledged nor retried is delivered again
/// after [`Queue::visibility_timeout`], and of one that is, a later acknowledgement by an earlier receiver is ignored.
/// A broker that is away or was wiped loses hints; it is back in use by itself once it is there again.
///
/// Calls are bounded in time also when a broker does not answer: within [`CALL_TIMEOUT`] for a connection and once more
/// for an answer, and [`receive`](Queue::receive) no more than that beyond its wait.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync + 'static {
    /// Gives a hint to some receiver, not before `delay` has passed.
    async fn publish(&self, hint: Hint, delay: Duration) -> Result<(), QueueError>;

    /// Takes up to `max` hints; waits up to `wait` for the first and for no more. Empty when none came.
    ///
    /// A broker that is away is waited for too, for a few seconds of `wait`, so a loop around this does not spin.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError>;

    /// How long a receiver may take before its hint is given to another one.
    fn visibility_timeout(&self) -> Duration {
        VISIBILITY_TIMEOUT
    }

    /// Whether hints can be published and received now. Bounded in time.
    async fn check(&self) -> Result<(), QueueError> {
        Ok(())
    }
}

/// A hint in the hands of a receiver.
#[derive(Debug)]
#[must_use = "a delivery that is not acknowledged comes again"]
pub struct Delivery {
    hint: Hint,
    receipt: Box<dyn Receipt>,
}

/// How a backend takes note of what became of a delivery.
#[async_trait]
pub trait Receipt: fmt::Debug + Send + Sync {
    /// The hint is done and is not delivered again.
    async fn ack(self: Box<Self>) -> Result<(), QueueError>;

    /// The hint is delivered again once `after` has passed.
    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError>;
}

/// Why a queue says no, by what the caller can do. Neither loses anything but time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Too much waits already. Drop the hint; the workers are behind anyway.
    #[error("the queue is full")]
    Full,
    /// The backend cannot be reached or failed. Go on without it and try again later.
    #[error("the queue is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Delivery {
    /// For queues: a hint and how its fate is noted.
    pub fn new(hint: Hint, receipt: Box<dyn Receipt>) -> Self {
        Self { hint, receipt }
    }

    /// The hint.
    pub fn hint(&self) -> &Hint {
        &self.hint
    }

    /// Says that the hint is done.
    pub async fn ack(self) -> Result<(), QueueError> {
        self.receipt.ack().await
    }

    /// Asks for the hint again once `after` has passed.
    pub async fn retry(self, after: Duration) -> Result<(), QueueError> {
        self.receipt.retry(after).await
    }
}
