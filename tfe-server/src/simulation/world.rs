//! What all of a simulated world shares: chance, the true records, what can go wrong, and what went wrong.

use std::{
    collections::VecDeque,
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use futures::FutureExt;
use object_store::memory::InMemory;
use tfe_core::{
    id::Entropy,
    run::{RUNS, invariants::Verdict},
};
use tfe_queue::MemoryQueue;
use tfe_storage::{Batch, Blobs, MemoryStore, Query, Result, Store, Write};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Duration, Instant},
};

use super::{
    chance::Chance,
    faults::Faults,
    ledger::Ledger,
    messages::Topics,
    mutation::Mutation,
    oracle::{Change, Committer, Oracle},
    vault::OpenVault,
};

/// How many of the last events a failure shows.
const MAX_EVENTS: usize = 4000;

/// One world.
pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) began: Instant,
    /// The records that all nodes share.
    pub(super) truth: MemoryStore,
    pub(super) blobs: Blobs,
    pub(super) queue: MemoryQueue,
    pub(super) topics: Topics,
    pub(super) mutation: Option<Mutation>,
    pub(super) faults: Faults,
    /// Whether anything fails at present.
    is_stormy: AtomicBool,
    oracle: Mutex<Oracle>,
    ledger: Mutex<Ledger>,
    failure: Mutex<Option<String>>,
    failed: Notify,
    /// The last events; none unless somebody wants to read them, since most worlds are never looked at.
    events: Option<Mutex<VecDeque<String>>>,
}

/// The tasks of one process, which end with it.
#[derive(Debug, Default)]
pub(super) struct Tasks(Mutex<Vec<AbortHandle>>);

impl World {
    pub(super) fn new(seed: u64, mutation: Option<Mutation>, is_told: bool) -> Arc<Self> {
        let chance = Chance::from_seed(seed);
        let faults = Faults::drawn(&chance);
        Arc::new(Self {
            chance,
            began: Instant::now(),
            truth: MemoryStore::new(),
            blobs: Blobs::new(Arc::new(InMemory::new()), Arc::new(OpenVault)),
            queue: MemoryQueue::new(),
            topics: Topics::default(),
            mutation,
            faults,
            is_stormy: AtomicBool::new(true),
            oracle: Mutex::default(),
            ledger: Mutex::default(),
            failure: Mutex::default(),
            failed: Notify::new(),
            events: is_told.then(Mutex::default),
        })
    }

    /// Whether a fault happens now, by the probability in a thousand that this world has for it.
    pub(super) fn strikes(&self, fault: impl Fn(&Faults) -> u64) -> bool {
        self.is_stormy() && self.chance.happens(fault(&self.faults))
    }

    /// Whether anything fails at present.
    pub(super) fn is_stormy(&self) -> bool {
        self.is_stormy.load(Relaxed)
    }

    /// From now on nothing fails.
    pub(super) fn calm(&self) {
        self.is_stormy.store(false, Relaxed);
    }

    pub(super) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(super) fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task reads records.
    pub(super) fn looked(&self, query: &Query) {
        if query.kind.name == RUNS.name {
            self.oracle().looked();
        }
    }

    /// Commits to the true records, and holds what came of it against the invariants.
    pub(super) async fn commit(&self, committer: &Committer, batch: Batch) -> Result<()> {
        let batch = if self.is(Mutation::UncheckedVersions) { self.unchecked(batch).await? } else { batch };
        let changes: Vec<Change> = batch.writes().iter().map(Change::of).collect();
        let told = self.events.as_ref().map(|_| summary(batch.writes()));
        let answer = self.truth.commit(batch).await;
        self.tell(|| format!("{} commits {}: {answer:?}", committer.node, told.unwrap_or_default()));
        if answer.is_ok() {
            let verdict = self.oracle().committed(committer, changes);
            self.judge(verdict);
        }
        answer
    }

    /// The mutation of a store that does not look at versions.
    async fn unchecked(&self, batch: Batch) -> Result<Batch> {
        let mut next = Batch::new();
        for mut write in batch.writes().iter().cloned() {
            let present = self.truth.get(write.kind(), write.id()).await?.map_or(0, |present| present.version);
            match &mut write {
                Write::Update(_, record) => record.version = present,
                Write::Check { version, .. } => *version = present,
                Write::Insert(..) | Write::Delete { .. } => {}
            }
            next = next.with(write);
        }
        Ok(next)
    }

    /// Ends the world if something is wrong.
    pub(super) fn judge(&self, verdict: Verdict) {
        if let Err(violation) = verdict {
            self.fail(violation.to_string());
        }
    }

    /// Ends the world. The first failure counts.
    pub(super) fn fail(&self, failure: String) {
        self.tell(|| format!("FAILS: {failure}"));
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        self.failed.notify_one();
    }

    /// Returns once something is wrong.
    pub(super) async fn failed(&self) -> String {
        loop {
            if let Some(failure) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return failure;
            }
            self.failed.notified().await;
        }
    }

    /// Notes an event, if anybody will read it.
    pub(super) fn tell(&self, event: impl FnOnce() -> String) {
        let Some(events) = &self.events else { return };
        let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == MAX_EVENTS {
            events.pop_front();
        }
        events.push_back(format!("{:9.3} {}", self.began.elapsed().as_secs_f64(), event()));
    }

    /// The last events, oldest first.
    pub(super) fn told(&self) -> Vec<String> {
        let events = self.events.as_ref().map(|events| events.lock().unwrap_or_else(PoisonError::into_inner).clone());
        events.unwrap_or_default().into()
    }

    /// Does something as a task of a process. A panic in it ends the world.
    pub(super) fn spawn(self: &Arc<Self>, tasks: &Tasks, work: impl Future<Output = ()> + Send + 'static) {
        let world = self.clone();
        let watched = async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
                world.fail(format!("a task panicked: {}", text.unwrap_or("without a word")));
            }
        };
        let handle = tokio::spawn(watched).abort_handle();
        let mut tasks = tasks.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle);
    }

    /// Waits for a time of the range.
    pub(super) async fn wait(&self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(self.chance.time(millis)).await;
    }

    /// How long the world has lasted.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Entropy for World {
    fn fill(&self, buffer: &mut [u8]) {
        self.chance.fill(buffer);
    }
}

impl Tasks {
    /// Ends all, in the middle of whatever they do.
    pub(super) fn end(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

fn summary(writes: &[Write]) -> String {
    let line = |write: &Write| match write {
        Write::Insert(_, record) | Write::Update(_, record) => {
            let status = record.body.get("status").and_then(|status| status.as_str()).unwrap_or_default();
            let verb = if matches!(write, Write::Insert(..)) { "+" } else { "=" };
            format!("{verb}{} {status}", record.id)
        }
        Write::Delete { id, .. } => format!("-{id}"),
        Write::Check { id, .. } => format!("?{id}"),
    };
    writes.iter().map(line).collect::<Vec<_>>().join(", ")
}
