//! A map whose entries end.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

/// What an entry costs besides its key and value: a rough sum of the nodes of two maps.
const ENTRY_BYTES: usize = 160;

/// Values that end, in a bounded number of bytes. When these are used up, those that would end first go first.
#[derive(Debug)]
pub(super) struct Expiring<V> {
    entries: HashMap<String, Entry<V>>,
    ends: BTreeSet<(Instant, String)>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    end: Instant,
    bytes: usize,
}

impl<V> Expiring<V> {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { entries: HashMap::new(), ends: BTreeSet::new(), bytes: 0, max_bytes }
    }

    /// The value of a key and when it ends, if that is later than `now`.
    pub(super) fn get_mut(&mut self, key: &str, now: Instant) -> Option<(&mut V, Instant)> {
        self.entries.get_mut(key).filter(|entry| entry.end > now).map(|entry| (&mut entry.value, entry.end))
    }

    /// Puts a value of `value_bytes` until `end`.
    pub(super) fn insert(&mut self, key: &str, value: V, value_bytes: usize, end: Instant, now: Instant) {
        self.remove(key);
        let bytes = ENTRY_BYTES + 2 * key.len() + value_bytes;
        while let Some((first, first_key)) = self.ends.first()
            && (*first <= now || self.bytes + bytes > self.max_bytes)
        {
            let first_key = first_key.clone();
            self.remove(&first_key);
        }
        if self.bytes + bytes > self.max_bytes {
            return;
        }
        self.bytes += bytes;
        self.ends.insert((end, key.to_owned()));
        self.entries.insert(key.to_owned(), Entry { value, end, bytes });
    }

    pub(super) fn remove(&mut self, key: &str) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.bytes -= entry.bytes;
            self.ends.remove(&(entry.end, key));
        }
    }
}
