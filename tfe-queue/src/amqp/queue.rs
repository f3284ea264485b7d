//! The queue over RabbitMQ.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt;
use lapin::{options::QueueDeclareOptions, types::FieldTable};

use super::{address::Address, delivery::bounded, publisher::Publisher, receiver::Receiver, session::Sessions, topology::Topology};
use crate::{
    hint::Hint,
    open::{OpenError, QueueOptions},
    queue::{Delivery, Queue, QueueError},
};

/// Most hints given at once.
const MAX_BATCH: u16 = 100;

/// A queue in a RabbitMQ.
///
/// Uses two connections: one to publish, one to receive.
#[derive(Debug)]
pub struct AmqpQueue {
    publisher: Arc<Publisher>,
    receiver: Receiver,
    topology: Topology,
}

impl AmqpQueue {
    /// The queue at `amqp://` or `amqps://`, which is connected to in the background of the current tokio runtime.
    ///
    /// Fails only when the URL is malformed.
    pub fn open(url: &str, options: QueueOptions) -> Result<Self, OpenError> {
        let (address, topology) = (Address::parse(url)?, Topology::new(&options.name));
        let sessions = |purpose| Sessions { address: address.clone(), topology: topology.clone(), purpose };
        let publisher = Arc::new(Publisher::new(sessions("tfe publisher")));
        let receiver = Receiver::new(sessions("tfe receiver"), Arc::clone(&publisher), options.visibility_timeout);
        Ok(Self { publisher, receiver, topology })
    }
}

#[async_trait]
impl Queue for AmqpQueue {
    async fn publish(&self, hint: Hint, delay: Duration) -> Result<(), QueueError> {
        self.publisher.publish(&hint, delay).await
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        let max = u16::try_from(max).unwrap_or(MAX_BATCH).min(MAX_BATCH);
        if max == 0 {
            return Ok(Vec::new());
        }
        Ok(self.receiver.link.keep_looking(wait, |deadline| self.receiver.look(max, deadline).boxed()).await?)
    }

    fn visibility_timeout(&self) -> Duration {
        self.receiver.visibility_timeout
    }

    async fn check(&self) -> Result<(), QueueError> {
        for link in [&self.publisher.link, &self.receiver.link] {
            let lease = link.session().await?;
            let there = async {
                let channel = lease.session.connection.create_channel().await?;
                let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                channel.queue_declare(self.topology.queue(None).into(), options, FieldTable::default()).await
            };
            if let Err(failure) = bounded(there).await {
                // A new session makes what is missing.
                lease.give_up();
                return Err(failure.into());
            }
        }
        Ok(())
    }
}
