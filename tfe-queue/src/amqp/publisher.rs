//! Sending hints.

use std::{sync::Arc, time::Duration};

use lapin::{
    BasicProperties, Confirmation,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use tokio::time::timeout;

use super::{
    session::{Session, Sessions},
    topology::{Step, Topology},
};
use crate::{
    clock,
    failure::Failure,
    hint::Hint,
    link::Link,
    queue::{CALL_TIMEOUT, QueueError},
};

/// The header with the delay that is left after the queue in which a message is, in milliseconds.
const DELAY_LEFT: &str = "tfe-delay-left";
/// A message that the broker writes to disk.
const PERSISTENT: u8 = 2;
/// The second time is for a queue that somebody deleted: it is made again.
const ATTEMPTS: usize = 2;

/// Sends hints on a connection of its own, since the broker stops reading from publishers when it is short of memory,
/// and receivers must go on then.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) link: Link<Arc<Session>>,
    topology: Topology,
}

/// What the broker did with a message.
enum Outcome {
    Kept,
    Refused,
    Unroutable,
}

impl Publisher {
    pub(super) fn new(sessions: Sessions) -> Self {
        let topology = sessions.topology.clone();
        Self { link: Link::new(sessions), topology }
    }

    /// Sends a hint that arrives after `delay`, and waits until the broker has it.
    pub(super) async fn publish(&self, hint: &Hint, delay: Duration) -> Result<(), QueueError> {
        let lease = self.link.session().await?;
        match timeout(CALL_TIMEOUT, self.send(&lease.session, hint, delay)).await {
            Ok(Ok(Outcome::Kept)) => Ok(()),
            Ok(Ok(Outcome::Refused)) => Err(QueueError::Full),
            Ok(Ok(Outcome::Unroutable)) => Err(Failure::new("the queue is deleted again and again").into()),
            Ok(Err(error)) => {
                lease.give_up();
                Err(Failure::new(error).into())
            }
            Err(_) => {
                lease.give_up();
                Err(Failure::timeout().into())
            }
        }
    }

    async fn send(&self, session: &Session, hint: &Hint, delay: Duration) -> lapin::Result<Outcome> {
        let (step, left) = Step::of(delay).map_or((None, Duration::ZERO), |(step, left)| (Some(step), left));
        let queue = self.topology.queue(step);
        let body = serde_json::to_vec(hint).expect("a hint is strings");
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        for _ in 0..ATTEMPTS {
            session.declare(&self.topology, step).await?;
            let confirm = session.channel.basic_publish("".into(), queue.as_str().into(), options, &body, properties(left)).await?;
            match confirm.await? {
                Confirmation::Ack(None) | Confirmation::NotRequested => return Ok(Outcome::Kept),
                Confirmation::Ack(Some(_)) => session.forget_queues(),
                Confirmation::Nack(_) => return Ok(Outcome::Refused),
            }
        }
        Ok(Outcome::Unroutable)
    }
}

/// The delay that a received message still has to wait.
pub(super) fn delay_left(properties: &BasicProperties) -> Duration {
    let left = properties.headers().as_ref().and_then(|headers| headers.inner().get(DELAY_LEFT));
    match left {
        Some(AMQPValue::LongLongInt(milliseconds)) => Duration::from_millis((*milliseconds).try_into().unwrap_or(0)),
        _ => Duration::ZERO,
    }
}

fn properties(left: Duration) -> BasicProperties {
    let properties = BasicProperties::default().with_delivery_mode(PERSISTENT).with_content_type("application/json".into());
    if left.is_zero() {
        return properties;
    }
    let milliseconds = clock::milliseconds(left).try_into().unwrap_or(i64::MAX);
    let mut headers = FieldTable::default();
    headers.insert(DELAY_LEFT.into(), AMQPValue::LongLongInt(milliseconds));
    properties.with_headers(headers)
}
