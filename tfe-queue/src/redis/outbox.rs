//! Notices on their way to other nodes.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Most topics that wait to be sent. Beyond it "everything" is sent instead, which costs the others one look each.
const MAX_TOPICS: usize = 10_000;

/// Topics that other nodes are to be told about. Equal ones are one.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug)]
enum Waiting {
    Topics(HashSet<String>),
    Everything,
}

/// What is sent at once.
#[derive(Debug)]
pub(super) enum Batch {
    /// These topics have changed.
    Topics(Vec<String>),
    /// Anything may have changed.
    Everything,
}

impl Outbox {
    /// Adds a topic. Never waits.
    pub(super) fn add(&self, topic: &str) {
        self.put([topic.to_owned()]);
    }

    /// Waits until there is something, and takes up to `max` topics.
    pub(super) async fn take(&self, max: usize) -> Batch {
        loop {
            if let Some(batch) = self.waiting().take(max) {
                return batch;
            }
            // A notice since the look is kept for this wait.
            self.filled.notified().await;
        }
    }

    /// Puts back what could not be sent.
    pub(super) fn put_back(&self, batch: Batch) {
        match batch {
            Batch::Topics(topics) => self.put(topics),
            Batch::Everything => {
                *self.waiting() = Waiting::Everything;
                self.filled.notify_one();
            }
        }
    }

    fn put(&self, added: impl IntoIterator<Item = String>) {
        let mut waiting = self.waiting();
        if let Waiting::Topics(topics) = &mut *waiting {
            topics.extend(added);
            if topics.len() > MAX_TOPICS {
                *waiting = Waiting::Everything;
            }
        }
        drop(waiting);
        self.filled.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn take(&mut self, max: usize) -> Option<Batch> {
        match self {
            Self::Topics(topics) if topics.is_empty() => None,
            Self::Topics(topics) => {
                let batch: Vec<String> = topics.iter().take(max).cloned().collect();
                for topic in &batch {
                    topics.remove(topic);
                }
                Some(Batch::Topics(batch))
            }
            Self::Everything => {
                *self = Self::default();
                Some(Batch::Everything)
            }
        }
    }
}

impl Default for Waiting {
    fn default() -> Self {
        Self::Topics(HashSet::new())
    }
}
