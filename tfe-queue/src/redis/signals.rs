//! Notices between nodes, over one channel.
//!
//! Who watches here is woken here, at once and without Redis; the channel only carries topics to the other nodes. A node
//! that was cut off cannot know what it missed, so it wakes all its watches when it hears again.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::StreamExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    client::{Address, Calls, PULSE, bounded},
    outbox::{Batch, Outbox},
};
use crate::{
    backoff::{Backoff, LONGEST_PAUSE},
    failure::Failure,
    signals::{MemorySignals, Signals},
};

/// Most topics sent in one round trip.
const MAX_BATCH: usize = 500;
/// Pause of the sender while Redis is away.
const AWAY_PAUSE: Duration = Duration::from_millis(250);

/// A channel of notices. A message is `node:topic`, or just `node` when anything may have changed.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    pub(super) name: Arc<str>,
    /// Tells own messages from those of other nodes: what was told here already need not be told again.
    pub(super) node: Arc<str>,
}

impl Channel {
    fn message(&self, topic: &str) -> String {
        format!("{}:{topic}", self.node)
    }

    fn wake(&self, message: &str, local: &MemorySignals) {
        match message.split_once(':') {
            Some((node, _)) if *node == *self.node => {}
            Some((_, topic)) => local.notify(topic),
            None if *message == *self.node => {}
            None => local.notify_all(),
        }
    }
}

/// Sends what is in the outbox, for ever.
pub(super) async fn send(channel: Channel, calls: Arc<Calls>, outbox: Arc<Outbox>) {
    loop {
        let batch = outbox.take(MAX_BATCH).await;
        let mut pipeline = redis::pipe();
        match &batch {
            Batch::Topics(topics) => {
                for topic in topics {
                    pipeline.cmd("PUBLISH").arg(&*channel.name).arg(channel.message(topic)).ignore();
                }
            }
            Batch::Everything => {
                pipeline.cmd("PUBLISH").arg(&*channel.name).arg(&*channel.node).ignore();
            }
        }
        let sent = calls.run(|mut connection| async move { pipeline.exec_async(&mut connection).await }).await;
        if sent.is_err() {
            outbox.put_back(batch);
            sleep(AWAY_PAUSE).await;
        }
    }
}

/// Wakes local watches by what other nodes say, for ever. `hears` says whether it can.
pub(super) async fn listen(channel: Channel, address: Address, local: MemorySignals, hears: watch::Sender<bool>) {
    let mut backoff = Backoff::new();
    loop {
        let begin = Instant::now();
        let Err(reason) = hear(&channel, &address, &local, &hears).await;
        if hears.send_replace(false) {
            tracing::warn!(broker = "redis", %reason, "notices of other nodes are not heard; this is tried again until they are");
        }
        if begin.elapsed() > LONGEST_PAUSE {
            backoff.reset();
        }
        backoff.pause().await;
    }
}

async fn hear(channel: &Channel, address: &Address, local: &MemorySignals, hears: &watch::Sender<bool>) -> Result<Infallible, Failure> {
    let (mut sink, mut messages) = address.subscriber().await?.split();
    bounded(sink.subscribe(&*channel.name)).await?;
    local.notify_all();
    hears.send_replace(true);
    loop {
        match timeout(PULSE, messages.next()).await {
            // What is not text is not ours.
            Ok(Some(message)) => {
                if let Ok(message) = message.get_payload::<String>() {
                    channel.wake(&message, local);
                }
            }
            Ok(None) => return Err(Failure::new("the connection ended")),
            Err(_) => bounded(sink.ping::<redis::Value>()).await.map(drop)?,
        }
    }
}
