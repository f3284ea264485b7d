//! Hints and signals as a bad network carries them: lost, doubled, late and out of order.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tfe_queue::{Cache, Coordination, CoordinationError, Count, Counters, Delivery, Hint, MemoryQueue, Queue, QueueError, Signals, Watch};
use tokio::sync::watch;

use super::{gate::Gate, world::World};

/// The latest that a message comes, in milliseconds.
const MAX_DELAY: u64 = 5_000;

/// The queue as one node sees it.
#[derive(Debug)]
pub(super) struct BadQueue {
    pub(super) world: Arc<World>,
    pub(super) gate: Arc<Gate>,
    /// The one queue of the installation.
    pub(super) queue: MemoryQueue,
}

/// The signals as one node sees them.
#[derive(Debug)]
pub(super) struct BadSignals {
    pub(super) world: Arc<World>,
    pub(super) topics: Topics,
}

/// Who watches what. Each watch has a channel of its own, since the watchers of one would wake in any order.
#[derive(Debug, Clone, Default)]
pub(super) struct Topics(Arc<Mutex<Vec<Watcher>>>);

/// A topic, and how its watcher is woken.
type Watcher = (String, watch::Sender<()>);

impl World {
    /// When each copy of a message arrives.
    fn arrivals(&self) -> Vec<Duration> {
        let copies = if self.strikes(|faults| faults.message_lost) {
            0
        } else if self.strikes(|faults| faults.message_doubled) {
            2
        } else {
            1
        };
        let delay = || if self.strikes(|faults| faults.message_late) { self.chance.time(0..MAX_DELAY) } else { Duration::ZERO };
        (0..copies).map(|_| delay()).collect()
    }
}

#[async_trait]
impl Queue for BadQueue {
    async fn publish(&self, hint: Hint, delay: Duration) -> Result<(), QueueError> {
        self.gate.pass().await;
        for late in self.world.arrivals() {
            self.queue.publish(hint.clone(), delay + late).await?;
        }
        Ok(())
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        self.gate.pass().await;
        let received = self.queue.receive(max, wait).await;
        self.gate.pass().await;
        received
    }
}

impl Topics {
    fn wake(&self, topic: &str) {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        topics.retain(|(_, sender)| sender.receiver_count() > 0);
        topics.iter().filter(|(watched, _)| watched == topic).for_each(|(_, sender)| sender.send_replace(()));
    }
}

impl Signals for BadSignals {
    fn notify(&self, topic: &str) {
        for late in self.world.arrivals() {
            if late.is_zero() {
                self.topics.wake(topic);
            } else {
                let (topics, topic) = (self.topics.clone(), topic.to_owned());
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    topics.wake(&topic);
                });
            }
        }
    }

    fn watch(&self, topic: &str) -> Watch {
        let sender = watch::Sender::new(());
        let watch = Watch::new(sender.subscribe(), ());
        self.topics.0.lock().unwrap_or_else(PoisonError::into_inner).push((topic.to_owned(), sender));
        watch
    }
}

/// Nothing that is simulated counts or caches.
#[async_trait]
impl Cache for BadSignals {
    async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, CoordinationError> {
        Ok(None)
    }

    async fn put(&self, _: &str, _: &[u8], _: Duration) -> Result<(), CoordinationError> {
        Ok(())
    }

    async fn remove(&self, _: &str) -> Result<(), CoordinationError> {
        Ok(())
    }
}

#[async_trait]
impl Counters for BadSignals {
    async fn count(&self, _: &str, window: Duration) -> Result<Count, CoordinationError> {
        Ok(Count { count: 1, ends_in: window })
    }
}

#[async_trait]
impl Coordination for BadSignals {}
