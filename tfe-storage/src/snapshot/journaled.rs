//! A store that also notes what it commits, for a shipper that brings it to a repository.
//!
//! The order of notes is the order of commits, since one happens after the other: that costs nothing where the database
//! has one writer. A commit is acknowledged without waiting for the shipper; how far that is behind can be seen.
//! When it falls too far behind, or when nobody knows whether a commit happened, a number is left out: the journal ends
//! there, and a new snapshot is asked for.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tfe_core::{
    record::Kind,
    time::{Clock, Timestamp},
};
use tokio::sync::Notify;

use super::JournalPosition;
use crate::{Batch, Error, Page, Query, Result, Store, StoredRecord, View, Write, migrate::is_moved};

/// Most writes that wait for the shipper: what a repository that is away for minutes costs in memory, about a kilobyte each.
pub(super) const MAX_WAITING: usize = 100_000;

/// A store with a journal. For databases of which this process is the only writer.
#[derive(Debug)]
pub struct JournaledStore {
    inner: Arc<dyn Store>,
    kinds: Vec<&'static Kind>,
    clock: Arc<dyn Clock>,
    /// Held during a commit, so that numbers follow commits.
    order: Arc<tokio::sync::Mutex<()>>,
    shared: Arc<Shared>,
}

/// How the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalHealth {
    /// Since when a commit waits to be shipped; none if all are. What was acknowledged later would be lost with this machine.
    pub behind_since: Option<Timestamp>,
    /// Whether the journal has a gap, so that only a new snapshot protects what comes after it.
    pub needs_snapshot: bool,
}

/// What store and shipper share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) stream: String,
    pub(super) news: Notify,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u64,
    writes: usize,
    waiting: VecDeque<Noted>,
    /// The number of the first commit after the last gap.
    whole_from: u64,
    /// From where the newest snapshot covers everything.
    covered_from: Option<u64>,
    started_at: Timestamp,
    gap_at: Option<Timestamp>,
}

/// A commit, as it was given to the store.
#[derive(Debug, Clone)]
pub(super) struct Noted {
    pub(super) number: u64,
    pub(super) at: Timestamp,
    pub(super) writes: Vec<Write>,
}

impl JournaledStore {
    /// A store in front of another one, that notes what becomes of records of these kinds: those of the snapshots. `stream` names
    /// this run of the program.
    pub fn new(inner: Arc<dyn Store>, kinds: Vec<&'static Kind>, clock: Arc<dyn Clock>, stream: String) -> Self {
        let queue = Mutex::new(Queue { started_at: clock.now(), ..Queue::default() });
        let shared = Arc::new(Shared { stream, news: Notify::new(), queue });
        Self { inner, kinds, clock, order: Arc::default(), shared }
    }

    /// How the journal is now.
    pub fn health(&self) -> JournalHealth {
        self.shared.health()
    }

    /// Notes that there is a snapshot from which the journal leads on.
    pub fn covered(&self, position: &JournalPosition) {
        if position.stream == self.shared.stream {
            self.shared.queue().covered_from = Some(position.next);
        }
    }

    /// Notes that another process may have committed something until now, so that only a new snapshot protects all there is.
    pub fn doubt(&self) {
        self.shared.queue().leave_gap(self.clock.now());
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

#[async_trait]
impl Store for JournaledStore {
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>> {
        self.inner.get(kind, id).await
    }

    async fn query(&self, query: &Query) -> Result<Page> {
        self.inner.query(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        let is_kept = |kind: &Kind| is_moved(kind) && self.kinds.iter().any(|kept| kept.name == kind.name);
        let is_noted = |write: &&Write| !matches!(write, Write::Check { .. }) && is_kept(write.kind());
        let writes: Vec<Write> = batch.writes().iter().filter(is_noted).cloned().collect();
        if writes.is_empty() {
            return self.inner.commit(batch).await;
        }
        let (inner, order, shared, clock) = (self.inner.clone(), self.order.clone(), self.shared.clone(), self.clock.clone());
        // A task of its own: whoever asked may go away in the middle, and what was begun must still be noted.
        let committed = tokio::spawn(async move {
            let _order = order.lock().await;
            let result = inner.commit(batch).await;
            match &result {
                Ok(()) => shared.note(clock.now(), writes),
                Err(Error::Unavailable(_) | Error::Full(_)) => shared.queue().leave_gap(clock.now()),
                Err(_) => {}
            }
            result
        });
        committed.await.map_err(Error::unavailable)?
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        let _order = self.order.lock().await;
        let inner = self.inner.view().await?;
        let position = JournalPosition { stream: self.shared.stream.clone(), next: self.shared.queue().next };
        Ok(Box::new(PlacedView { inner, position }))
    }
}

impl Shared {
    /// Up to `limit` commits that wait, oldest first: those that follow commit `after`, or the first. They wait on until they are
    /// [shipped](Self::shipped).
    pub(super) fn waiting(&self, after: Option<u64>, limit: usize) -> Vec<Noted> {
        let queue = self.queue();
        let mut last = after;
        let mut commits: Vec<Noted> = Vec::new();
        for noted in queue.waiting.iter().skip_while(|noted| after.is_some_and(|after| noted.number <= after)).take(limit) {
            // A segment holds numbers that follow each other.
            if last.is_some_and(|last| last + 1 != noted.number) {
                break;
            }
            last = Some(noted.number);
            commits.push(noted.clone());
        }
        commits
    }

    /// Forgets what has arrived in the repository.
    pub(super) fn shipped(&self, last: u64) {
        let mut queue = self.queue();
        while queue.waiting.front().is_some_and(|noted| noted.number <= last) {
            let gone = queue.waiting.pop_front().map_or(0, |noted| noted.writes.len());
            queue.writes -= gone;
        }
    }

    fn note(&self, at: Timestamp, writes: Vec<Write>) {
        let mut queue = self.queue();
        if queue.writes + writes.len() > MAX_WAITING {
            queue.waiting.clear();
            queue.writes = 0;
            queue.leave_gap(at);
        } else {
            queue.writes += writes.len();
            let number = queue.next;
            queue.next += 1;
            queue.waiting.push_back(Noted { number, at, writes });
        }
        drop(queue);
        self.news.notify_one();
    }

    fn health(&self) -> JournalHealth {
        let queue = self.queue();
        let is_covered = queue.covered_from.is_some_and(|from| from >= queue.whole_from);
        let uncovered_since = (!is_covered).then(|| queue.gap_at.unwrap_or(queue.started_at));
        let waiting_since = queue.waiting.front().map(|noted| noted.at);
        JournalHealth { behind_since: uncovered_since.into_iter().chain(waiting_since).min(), needs_snapshot: !is_covered }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Skips a number.
    fn leave_gap(&mut self, at: Timestamp) {
        self.next += 1;
        self.whole_from = self.next;
        self.gap_at = Some(at);
    }
}

/// A view that knows its place in the journal.
#[derive(Debug)]
struct PlacedView {
    inner: Box<dyn View>,
    position: JournalPosition,
}

#[async_trait]
impl View for PlacedView {
    async fn page(&mut self, kind: &'static Kind, after: Option<&str>, limit: u64) -> Result<Vec<StoredRecord>> {
        self.inner.page(kind, after, limit).await
    }

    fn position(&self) -> Option<JournalPosition> {
        Some(self.position.clone())
    }
}
