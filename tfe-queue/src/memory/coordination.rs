//! Coordination of one node with itself.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::expiring::Expiring;
use crate::{
    clock,
    coordination::{Cache, Coordination, CoordinationError, Count, Counters, check_size},
    signals::{MemorySignals, Signals, Watch},
};

/// Most memory of a cache: a thousand of the largest values, and far more of usual ones.
const MAX_CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Most memory of counters: some fifty thousand keys, such as all addresses that call within a second.
const MAX_COUNTER_BYTES: usize = 16 * 1024 * 1024;

/// Signals, a cache and counters in the memory of one process.
///
/// Both maps are bounded: when a limit is reached, what would end first is lost first.
#[derive(Debug, Clone)]
pub struct MemoryCoordination {
    signals: MemorySignals,
    values: Arc<Mutex<Expiring<Vec<u8>>>>,
    counts: Arc<Mutex<Expiring<u64>>>,
}

impl MemoryCoordination {
    /// Nothing cached, nothing counted, and nobody who watches.
    pub fn new() -> Self {
        Self {
            signals: MemorySignals::new(),
            values: Arc::new(Mutex::new(Expiring::new(MAX_CACHE_BYTES))),
            counts: Arc::new(Mutex::new(Expiring::new(MAX_COUNTER_BYTES))),
        }
    }
}

impl Default for MemoryCoordination {
    fn default() -> Self {
        Self::new()
    }
}

impl Coordination for MemoryCoordination {}

impl Signals for MemoryCoordination {
    fn notify(&self, topic: &str) {
        self.signals.notify(topic);
    }

    fn watch(&self, topic: &str) -> Watch {
        self.signals.watch(topic)
    }
}

#[async_trait]
impl Cache for MemoryCoordination {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, CoordinationError> {
        Ok(lock(&self.values).get_mut(key, Instant::now()).map(|(value, _)| value.clone()))
    }

    async fn put(&self, key: &str, value: &[u8], time_to_live: Duration) -> Result<(), CoordinationError> {
        check_size(value)?;
        lock(&self.values).insert(key, value.to_vec(), value.len(), clock::later(time_to_live), Instant::now());
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), CoordinationError> {
        lock(&self.values).remove(key);
        Ok(())
    }
}

#[async_trait]
impl Counters for MemoryCoordination {
    async fn count(&self, key: &str, window: Duration) -> Result<Count, CoordinationError> {
        let now = Instant::now();
        let mut counts = lock(&self.counts);
        if let Some((count, end)) = counts.get_mut(key, now) {
            *count += 1;
            return Ok(Count { count: *count, ends_in: end - now });
        }
        let end = clock::later(window);
        counts.insert(key, 1, 0, end, now);
        Ok(Count { count: 1, ends_in: end - now })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
