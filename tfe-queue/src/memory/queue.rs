//! A queue in the memory of one process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    clock,
    hint::Hint,
    queue::{Delivery, Queue, QueueError, Receipt, VISIBILITY_TIMEOUT},
};

/// Most hints that wait or are being worked on: some ten megabytes, and far more than one process can have to do.
pub const MAX_WAITING: usize = 100_000;

/// A queue in the memory of one process.
#[derive(Debug, Clone, Default)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Told whenever a hint may be due earlier than receivers believe.
    changed: Notify,
}

/// All hints by when they are due. One in the hands of a receiver is due when its visibility timeout ends.
#[derive(Debug, Default)]
struct Waiting {
    due: BTreeMap<Ticket, Hint>,
    next_number: u64,
}

/// When a hint is due, and a number that tells apart those due at once.
type Ticket = (Instant, u64);

/// A delivered hint's place in the queue.
#[derive(Debug)]
struct Place {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn publish(&self, hint: Hint, delay: Duration) -> Result<(), QueueError> {
        {
            let mut waiting = self.shared.waiting();
            if waiting.due.len() >= MAX_WAITING {
                return Err(QueueError::Full);
            }
            waiting.insert(hint, delay);
        }
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        let deadline = clock::later(wait);
        loop {
            // Listen before looking, so that nothing published in between is missed.
            let changed = self.shared.changed.notified();
            let (deliveries, next_due) = self.take_due(max);
            if !deliveries.is_empty() || max == 0 || Instant::now() >= deadline {
                return Ok(deliveries);
            }
            let due = async {
                match next_due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let _ = timeout_at(deadline, async {
                tokio::select! { () = changed => {}, () = due => {} }
            })
            .await;
        }
    }
}

impl MemoryQueue {
    /// Up to `max` hints that are due now, and when the next one will be.
    fn take_due(&self, max: usize) -> (Vec<Delivery>, Option<Instant>) {
        let mut waiting = self.shared.waiting();
        let now = Instant::now();
        let mut deliveries = Vec::new();
        while deliveries.len() < max
            && let Some(first) = waiting.due.first_entry()
            && first.key().0 <= now
        {
            let hint = first.remove();
            let ticket = waiting.insert(hint.clone(), VISIBILITY_TIMEOUT);
            deliveries.push(Delivery::new(hint, Box::new(Place { shared: Arc::clone(&self.shared), ticket })));
        }
        (deliveries, waiting.due.first_key_value().map(|((due, _), _)| *due))
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn insert(&mut self, hint: Hint, delay: Duration) -> Ticket {
        let ticket = (clock::later(delay), self.next_number);
        self.next_number += 1;
        self.due.insert(ticket, hint);
        ticket
    }
}

/// A receiver that comes after its timeout finds its ticket gone, and nothing happens: the hint is another's now.
#[async_trait]
impl Receipt for Place {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        self.shared.waiting().due.remove(&self.ticket);
        Ok(())
    }

    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        {
            let mut waiting = self.shared.waiting();
            if let Some(hint) = waiting.due.remove(&self.ticket) {
                waiting.insert(hint, after);
            }
        }
        self.shared.changed.notify_waiters();
        Ok(())
    }
}
