//! A hint in the hands of a receiver of this process.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use lapin::{
    Acker, Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::publisher::Publisher;
use crate::{
    failure::Failure,
    hint::Hint,
    queue::{CALL_TIMEOUT, Delivery, QueueError, Receipt},
};

/// An unacknowledged message. The library lets only the first acknowledgement through, so that one which comes after
/// the message was given back does nothing.
struct Held {
    acker: Acker,
    hint: Hint,
    publisher: Arc<Publisher>,
    /// Gives the message back when its time has passed.
    timeout: AbortHandle,
    /// The broker takes back what a channel holds when that closes, so it stays open as long as this is here.
    _channel: Channel,
}

/// Hands a message to a receiver, for no longer than `visibility_timeout`.
pub(super) fn hand_over(hint: Hint, acker: Acker, channel: Channel, publisher: Arc<Publisher>, visibility_timeout: Duration) -> Delivery {
    let (late, kept_open) = (acker.clone(), channel.clone());
    let timeout = tokio::spawn(async move {
        sleep(visibility_timeout).await;
        // If this fails the connection does too, and the broker takes the message back.
        let _ = give_back(&late).await;
        drop(kept_open);
    });
    let held = Held { acker, hint: hint.clone(), publisher, timeout: timeout.abort_handle(), _channel: channel };
    Delivery::new(hint, Box::new(held))
}

/// Says that a message is done.
pub(super) async fn acknowledge(acker: &Acker) -> Result<(), Failure> {
    bounded(acker.ack(BasicAckOptions::default())).await.map(drop)
}

/// Gives a message back to the queue.
pub(super) async fn give_back(acker: &Acker) -> Result<(), Failure> {
    bounded(acker.nack(BasicNackOptions { requeue: true, ..BasicNackOptions::default() })).await.map(drop)
}

/// What a call gives within [`CALL_TIMEOUT`].
pub(super) async fn bounded<T>(call: impl Future<Output = lapin::Result<T>>) -> Result<T, Failure> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result.map_err(Failure::new),
        Err(_) => Err(Failure::timeout()),
    }
}

#[async_trait]
impl Receipt for Held {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        let result = acknowledge(&self.acker).await;
        self.timeout.abort();
        Ok(result?)
    }

    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        // Dying between the two makes the hint come twice; the other way round it could be lost.
        if self.acker.usable() {
            self.publisher.publish(&self.hint, after).await?;
        }
        self.ack().await
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("hint", &self.hint).finish_non_exhaustive()
    }
}
