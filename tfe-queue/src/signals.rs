//! Topics for whoever waits right now.
//!
//! The order is always: watch, look, wait. A notice that comes after `watch` is never missed, even while looking.

use std::{
    any::Any,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

/// Most topics that are watched at once; each belongs to a waiting request, of which a server has fewer.
pub const MAX_TOPICS: usize = 100_000;

/// Tells those who wait for a topic that something about it has changed.
///
/// Topics are free text such as `run:run-x`. A notice reaches every watch that began before it, in all processes
/// that share the backend; it is not kept for later ones. Notices may be merged and may come without a change.
pub trait Signals: fmt::Debug + Send + Sync + 'static {
    /// Wakes all who watch the topic. Never waits and never fails: a lost notice only costs the waiter its timeout.
    fn notify(&self, topic: &str);

    /// Begins to watch a topic, until the watch is dropped.
    fn watch(&self, topic: &str) -> Watch;
}

/// The interest in one topic.
pub struct Watch {
    changes: watch::Receiver<()>,
    /// Dropped with the watch, which is how a backend learns that the interest has ended.
    _interest: Box<dyn Any + Send + Sync>,
}

/// Topics in the memory of one process.
#[derive(Debug, Clone, Default)]
pub struct MemorySignals {
    topics: Arc<Mutex<Topics>>,
}

/// The watched topics and nothing else: the last watch takes its topic along.
type Topics = HashMap<String, watch::Sender<()>>;

#[derive(Debug)]
struct Interest {
    topics: Arc<Mutex<Topics>>,
    topic: String,
}

impl Watch {
    /// For backends: a watch that wakes with `changes` and drops `interest` at its end.
    pub fn new(changes: watch::Receiver<()>, interest: impl Any + Send + Sync) -> Self {
        Self { changes, _interest: Box::new(interest) }
    }

    /// Waits for a notice since the watch began or since the last call. False if `wait` passed without one.
    pub async fn changed(&mut self, wait: Duration) -> bool {
        match timeout(wait, self.changes.changed()).await {
            Ok(Ok(())) => true,
            Ok(Err(_)) => {
                // The backend has gone, so no notice can come; sleeping keeps the caller from spinning.
                tokio::time::sleep(wait).await;
                false
            }
            Err(_) => false,
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl MemorySignals {
    /// Signals that nobody watches yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes all who watch anything: for backends that may have missed notices.
    pub fn notify_all(&self) {
        for sender in lock(&self.topics).values() {
            sender.send_replace(());
        }
    }

    /// How many topics are watched.
    pub fn watched(&self) -> usize {
        lock(&self.topics).len()
    }
}

impl Signals for MemorySignals {
    fn notify(&self, topic: &str) {
        if let Some(sender) = lock(&self.topics).get(topic) {
            sender.send_replace(());
        }
    }

    fn watch(&self, topic: &str) -> Watch {
        let mut topics = lock(&self.topics);
        if topics.len() >= MAX_TOPICS && !topics.contains_key(topic) {
            // Beyond the limit a watch hears nothing, and its owner looks again after the timeout.
            return Watch::new(watch::Sender::new(()).subscribe(), ());
        }
        let changes = topics.entry(topic.to_owned()).or_insert_with(|| watch::Sender::new(())).subscribe();
        Watch::new(changes, Interest { topics: Arc::clone(&self.topics), topic: topic.to_owned() })
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut topics = lock(&self.topics);
        // Fields are dropped in order, so this watch's own receiver is not counted any more.
        if topics.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

fn lock(topics: &Mutex<Topics>) -> MutexGuard<'_, Topics> {
    topics.lock().unwrap_or_else(PoisonError::into_inner)
}
