//! Taking snapshots when it is time, trying them, and shipping what is committed between them.

use std::time::Duration;

use tfe_core::time::{Clock, Timestamp};
use tfe_storage::snapshot::{Choice, Shipper, SnapshotError};
use tokio_util::sync::CancellationToken;

use super::Snapshots;
use crate::{app::App, configuration::SnapshotSettings, error::chain, service::duties, system::SystemClock};

/// The duty of the node that takes snapshots.
const DUTY: &str = "snapshots";
/// How often it is looked whether it is time. The duty is kept by looking.
const TICK: Duration = Duration::from_secs(1);
/// How long after a failure it is tried again.
const RETRY_SECONDS: i64 = 60;
/// The longest pause between two attempts at a repository that is away: what waits for it once it is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long what was committed last may take to be shipped when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Does what the operator chose, until `shutdown`.
pub async fn run(app: App, snapshots: Snapshots, shutdown: CancellationToken) {
    let shipping = tokio::spawn(ship(snapshots.clone(), shutdown.clone()));
    let mut keeper = Keeper { app, snapshots, not_before: Timestamp::default(), drilled_at: None };
    while !shutdown.is_cancelled() {
        keeper.look(&shutdown).await;
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(TICK) => {}
        }
    }
    let _ = shipping.await;
    keeper.end().await;
}

struct Keeper {
    app: App,
    snapshots: Snapshots,
    /// No new try before this.
    not_before: Timestamp,
    /// When the newest snapshot was last restored for trial, as far as this process knows: a process that begins takes the time of
    /// the newest snapshot for it. None before the first look.
    drilled_at: Option<Timestamp>,
}

/// What it is time for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Snapshot,
    Drill,
}

/// What it is time for, a snapshot before its trial.
fn due(settings: &SnapshotSettings, has_gap: bool, taken_at: Option<Timestamp>, drilled_at: Timestamp, now: Timestamp) -> Option<Task> {
    if has_gap || settings.schedule.is_due(taken_at, now) {
        return Some(Task::Snapshot);
    }
    settings.drill.is_due(Some(drilled_at), now).then_some(Task::Drill)
}

impl Keeper {
    async fn look(&mut self, shutdown: &CancellationToken) {
        let now = SystemClock.now();
        match duties::hold(&self.app, DUTY).await {
            Ok(Some(_)) if now >= self.not_before => {}
            // Not this node's turn, or not yet.
            Ok(_) | Err(_) => return,
        }
        let work = self.work(now);
        let done = tokio::select! {
            () = shutdown.cancelled() => return,
            done = work => done,
        };
        match done {
            Ok(true) => self.snapshots.standing().error = None,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(error = chain(&error), "snapshots do not work; trying again in a minute");
                self.snapshots.standing().error = Some(error.to_string());
                self.not_before = now.plus_seconds(RETRY_SECONDS);
            }
        }
    }

    /// Takes a last snapshot if nothing else protects what was committed.
    async fn end(&self) {
        if self.snapshots.journal().is_some_and(|journal| journal.needs_snapshot) {
            match tokio::time::timeout(LAST_WORDS, self.snapshots.create(&mut |_, _| {})).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(error = chain(&error), "what was committed last is in no snapshot"),
                Err(_) => tracing::error!("what was committed last is in no snapshot: there was no time for one"),
            }
        }
    }

    /// Whether there was something to do.
    async fn work(&mut self, now: Timestamp) -> Result<bool, SnapshotError> {
        if self.drilled_at.is_none() {
            self.snapshots.look_for_newest().await?;
        }
        let drilled_at = *self.drilled_at.get_or_insert_with(|| self.snapshots.known().taken_at.unwrap_or(now));
        match self.due(drilled_at, now) {
            Some(Task::Snapshot) => self.take(drilled_at, now).await,
            Some(Task::Drill) => self.drill(now).await.map(|()| true),
            None => Ok(false),
        }
    }

    fn due(&self, drilled_at: Timestamp, now: Timestamp) -> Option<Task> {
        let has_gap = self.snapshots.journal().is_some_and(|journal| journal.needs_snapshot);
        due(&self.snapshots.0.settings, has_gap, self.snapshots.known().taken_at, drilled_at, now)
    }

    /// Takes a snapshot and removes those that are not kept, unless another node has taken one meanwhile.
    async fn take(&self, drilled_at: Timestamp, now: Timestamp) -> Result<bool, SnapshotError> {
        self.snapshots.look_for_newest().await?;
        if self.due(drilled_at, now) != Some(Task::Snapshot) {
            return Ok(false);
        }
        let manifest = self.holding(self.snapshots.create(&mut |_, _| {})).await?;
        tracing::info!(snapshot = manifest.id, records = manifest.records, blobs = manifest.blobs, "a snapshot was taken");
        match self.holding(self.snapshots.prune()).await {
            Ok(pruned) if pruned.snapshots.is_empty() => {}
            Ok(pruned) => tracing::info!(snapshots = pruned.snapshots.len(), objects = pruned.objects, "snapshots were removed"),
            // The next snapshot is the next chance.
            Err(SnapshotError::Busy(reason)) => tracing::info!(reason, "no snapshots were removed"),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    async fn drill(&mut self, now: Timestamp) -> Result<(), SnapshotError> {
        // On the heap, since it holds a whole restore.
        let drilled = Box::pin(self.holding(self.snapshots.verify(&Choice::Newest, &mut |_, _| {}))).await;
        if let Err(SnapshotError::Damaged(_) | SnapshotError::Inconsistent(_)) = &drilled {
            // What is damaged there is written again from what is whole here.
            if let Err(error) = self.holding(self.snapshots.create(&mut |_, _| {})).await {
                tracing::error!(error = chain(&error), "what is damaged in the snapshots cannot be written again");
            }
        }
        let drilled = drilled?;
        self.drilled_at = Some(now);
        let (snapshot, records) = (drilled.snapshot, drilled.records);
        tracing::info!(snapshot, records, "the newest snapshot was restored for trial, and is good");
        Ok(())
    }

    /// Keeps the duty while something takes long.
    async fn holding<T>(&self, work: impl Future<Output = T>) -> T {
        let renewing = async {
            loop {
                tokio::time::sleep(TICK).await;
                let _ = duties::hold(&self.app, DUTY).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = renewing => unreachable!("renewing does not end"),
        }
    }
}

/// Ships what is committed, and at the end what is left.
async fn ship(snapshots: Snapshots, shutdown: CancellationToken) {
    let Some(journal) = snapshots.0.journal.clone() else { return };
    let mut pause = TICK;
    let repository = loop {
        match snapshots.repository().await {
            Ok(repository) => break repository,
            Err(error) => tracing::warn!(error = chain(&error), "the snapshots cannot be reached; what is committed waits"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (2 * pause).min(LONGEST_PAUSE),
        }
    };
    let shipper = Shipper::new(&journal, repository, snapshots.0.place.clone());
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = shipper.run() => {}
    }
    let last = async { while let Ok(true) = shipper.ship().await {} };
    let _ = tokio::time::timeout(LAST_WORDS, last).await;
}

#[cfg(test)]
mod tests {
    use tfe_core::retention::Retention;

    use super::*;

    const MINUTE: i64 = 60;

    #[test]
    fn a_day_has_its_snapshots_and_its_trial_though_both_are_due_at_once() {
        let (schedule, drill) = ("hourly".parse().unwrap(), "daily".parse().unwrap());
        let (retention, continuous, restore_on_boot) = (Retention::default(), true, true);
        let settings =
            SnapshotSettings { objects: None, key: None, password: None, schedule, drill, retention, continuous, restore_on_boot };
        let begun = Timestamp::parse("2026-11-25T10:20:30Z").unwrap();
        let (mut taken_at, mut drilled_at, mut snapshots, mut drills) = (None, begun, 0, 0);
        for minute in 0..3 * 24 * 60 {
            let now = begun.plus_seconds(minute * MINUTE);
            while let Some(task) = due(&settings, false, taken_at, drilled_at, now) {
                match task {
                    Task::Snapshot => (taken_at, snapshots) = (Some(now), snapshots + 1),
                    Task::Drill => (drilled_at, drills) = (now, drills + 1),
                }
            }
        }
        assert_eq!((snapshots, drills), (1 + 3 * 24, 3));
        assert_eq!(due(&settings, true, taken_at, drilled_at, taken_at.unwrap()), Some(Task::Snapshot), "a gap does not wait");
    }
}
