//! Taking hints.
//!
//! Each look has a channel of its own. When it is abandoned the channel closes, and the broker takes back all that was
//! on its way: nothing is ever held by nobody. What was handed over keeps its channel open until it is settled.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use lapin::{
    Channel,
    message::Delivery as Message,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::{Instant, timeout_at};

use super::{
    delivery::{acknowledge, bounded, hand_over},
    publisher::{Publisher, delay_left},
    session::{Session, Sessions},
    topology::Topology,
};
use crate::{failure::Failure, hint::Hint, link::Link, queue::Delivery};

/// Longest time for fetching messages one by one before those that are there are handed over.
const FETCH_TIME: Duration = Duration::from_secs(1);

/// Longest time that one consumer is listened to. When a queue is deleted and made again at once, the broker may forget
/// to tell consumers of the former queue that they wait in vain (seen with RabbitMQ 3.10).
const RENEWAL: Duration = Duration::from_secs(5);

/// Takes hints, on a connection of its own.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) link: Link<Arc<Session>>,
    topology: Topology,
    publisher: Arc<Publisher>,
    pub(super) visibility_timeout: Duration,
}

impl Receiver {
    pub(super) fn new(sessions: Sessions, publisher: Arc<Publisher>, visibility_timeout: Duration) -> Self {
        let topology = sessions.topology.clone();
        Self { link: Link::new(sessions), topology, publisher, visibility_timeout }
    }

    /// Up to `max` hints, as soon as there are any, or none at the deadline and now and then before.
    pub(super) async fn look(&self, max: u16, deadline: Instant) -> Result<Vec<Delivery>, Failure> {
        let lease = self.link.session().await?;
        let result = self.pull(&lease.session, max, deadline).await;
        if result.is_err() {
            lease.give_up();
        }
        result
    }

    async fn pull(&self, session: &Session, max: u16, deadline: Instant) -> Result<Vec<Delivery>, Failure> {
        let channel = bounded(session.connection.create_channel()).await?;
        // A consumer is not told that nothing is there now, so what is there is fetched first.
        let fetched = self.fetch(&channel, max).await?;
        if !fetched.is_empty() || Instant::now() >= deadline {
            return Ok(fetched);
        }
        let mut deliveries = Vec::new();
        for message in self.consume(&channel, max, deadline).await? {
            deliveries.extend(self.accept(&channel, message).await?);
        }
        Ok(deliveries)
    }

    /// What is there, up to `max`.
    async fn fetch(&self, channel: &Channel, max: u16) -> Result<Vec<Delivery>, Failure> {
        let begin = Instant::now();
        let mut deliveries = Vec::new();
        while deliveries.len() < usize::from(max) && begin.elapsed() < FETCH_TIME {
            let Some(message) = bounded(channel.basic_get(self.topology.queue(None).into(), BasicGetOptions::default())).await? else {
                break;
            };
            deliveries.extend(self.accept(channel, message.delivery).await?);
        }
        Ok(deliveries)
    }

    /// Waits for messages as a consumer that holds no more than `max`.
    async fn consume(&self, channel: &Channel, max: u16, deadline: Instant) -> Result<Vec<Message>, Failure> {
        bounded(channel.basic_qos(max, BasicQosOptions::default())).await?;
        let queue = self.topology.queue(None);
        let consume = channel.basic_consume(queue.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
        let mut consumer = bounded(consume).await?;
        let mut messages = Vec::new();
        match timeout_at(deadline.min(Instant::now() + RENEWAL), consumer.next()).await {
            Ok(Some(message)) => messages.push(message.map_err(Failure::new)?),
            // The broker ends consumers of a queue that is deleted.
            Ok(None) => return Err(Failure::new("the queue was deleted")),
            Err(_) => {}
        }
        bounded(channel.basic_cancel(consumer.tag(), BasicCancelOptions::default())).await?;
        // What came before the answer is here already.
        while let Some(Some(message)) = consumer.next().now_or_never() {
            messages.push(message.map_err(Failure::new)?);
        }
        Ok(messages)
    }

    /// Hands a message over, or sends it on if its delay is not over.
    async fn accept(&self, channel: &Channel, message: Message) -> Result<Option<Delivery>, Failure> {
        let hint = match serde_json::from_slice::<Hint>(&message.data) {
            Ok(hint) => hint,
            Err(error) => {
                tracing::warn!(%error, "a hint that nobody here understands is dropped; is a newer version at work?");
                acknowledge(&message.acker).await?;
                return Ok(None);
            }
        };
        let left = delay_left(&message.properties);
        let delivery =
            hand_over(hint.clone(), message.acker.clone(), channel.clone(), Arc::clone(&self.publisher), self.visibility_timeout);
        if left.is_zero() {
            return Ok(Some(delivery));
        }
        match self.publisher.publish(&hint, left).await {
            Ok(()) => delivery.ack().await.map_err(Failure::new)?,
            // It comes again after the visibility timeout, as if a receiver had died with it, and is sent on then.
            Err(error) => tracing::warn!(%error, "a delayed hint is held back"),
        }
        Ok(None)
    }
}
