//! Taking snapshots when it is time, trying them, and shipping what is committed between them.

use std::{sync::Arc, time::Duration};

use tfe_core::time::{Clock, Timestamp};
use tfe_storage::snapshot::{Choice, JournaledStore, Shipper, SnapshotError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Drilled, Snapshots};
use crate::{app::App, configuration::SnapshotSettings, error::chain, service::duties, system::SystemClock};

/// The duty of the node that takes snapshots.
const DUTY: &str = "snapshots";
/// How often it is looked whether it is time. The duty is kept by looking.
const TICK: Duration = Duration::from_secs(1);
/// How often it is looked what is in the repository, whoever put it there: what that says is alarmed on by the hour.
const LOOK_SECONDS: i64 = 5 * 60;
/// How long after a failure it is tried again.
const RETRY_SECONDS: i64 = 60;
/// The longest pause after failed trials: a few in a working day, so that one that is repaired is seen to be.
const LONGEST_DRILL_PAUSE_SECONDS: i64 = 3 * 60 * 60;
/// How often the pause doubles before it is the longest one in any case.
const MAX_DOUBLINGS: u32 = 16;
/// The longest pause between two attempts at a repository that is away: what waits for it once it is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long what was committed last may take to be shipped when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Does what the operator chose, until `shutdown`.
pub async fn run(app: App, snapshots: Snapshots, shutdown: CancellationToken) {
    let journal = snapshots.0.journal.clone();
    let shipping = journal.map(|journal| app.health.loops.start("journal", &shutdown, ship(snapshots.clone(), journal, shutdown.clone())));
    let mut keeper = Keeper::new(app, snapshots);
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = keeper.keep() => {}
    }
    if let Some(shipping) = shipping {
        // How it ended was told.
        let _ = shipping.await;
    }
    keeper.end().await;
}

struct Keeper {
    app: App,
    snapshots: Snapshots,
    /// When the repository is looked at next.
    next_look: Timestamp,
    /// No new snapshot before this.
    not_before: Timestamp,
    /// The trial that goes on beside everything else.
    drilling: Option<JoinHandle<Result<Drilled, SnapshotError>>>,
    /// How many trials have failed since the last that did not.
    failed_drills: u32,
    /// No new trial before this.
    no_drill_before: Timestamp,
    /// Whether a trial has found damage and no snapshot was taken since.
    heals: bool,
}

/// What it is time for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Snapshot,
    Drill,
}

/// What decides what it is time for.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// Whether one is needed at once, since what was committed is not shipped, or what is damaged is not written again.
    is_urgent: bool,
    taken_at: Option<Timestamp>,
    drilled_at: Timestamp,
    /// Whether a snapshot must wait, since one has failed.
    snapshot_waits: bool,
    /// Whether a trial must wait, since one goes on or has failed.
    drill_waits: bool,
}

/// What it is time for, a snapshot before its trial.
fn due(settings: &SnapshotSettings, facts: &Facts, now: Timestamp) -> Option<Task> {
    if !facts.snapshot_waits && (facts.is_urgent || settings.schedule.is_due(facts.taken_at, now)) {
        return Some(Task::Snapshot);
    }
    (!facts.drill_waits && settings.drill.is_due(Some(facts.drilled_at), now)).then_some(Task::Drill)
}

/// How long after so many failed trials in a row the next one begins, in seconds: each reads the whole snapshot.
fn drill_pause_seconds(failed: u32) -> i64 {
    (RETRY_SECONDS << failed.saturating_sub(1).min(MAX_DOUBLINGS)).min(LONGEST_DRILL_PAUSE_SECONDS)
}

impl Keeper {
    fn new(app: App, snapshots: Snapshots) -> Self {
        let (next_look, not_before, no_drill_before) = Default::default();
        Self { app, snapshots, next_look, not_before, drilling: None, failed_drills: 0, no_drill_before, heals: false }
    }

    async fn keep(&mut self) {
        loop {
            self.look().await;
            tokio::time::sleep(TICK).await;
        }
    }

    async fn look(&mut self) {
        let now = SystemClock.now();
        self.finish_drill(now).await;
        if now >= self.next_look {
            let looked = self.snapshots.look().await;
            self.next_look = now.plus_seconds(if looked.is_ok() { LOOK_SECONDS } else { RETRY_SECONDS });
            self.snapshots.standing().look_error = looked.as_ref().err().map(ToString::to_string);
            if let Err(error) = looked {
                tracing::error!(error = chain(&error), "the snapshots cannot be looked at; trying again in a minute");
            }
        }
        let is_ours = matches!(duties::hold(&self.app, DUTY).await, Ok(Some(_)));
        // Not this node's turn, or the newest is not known.
        if !is_ours || self.snapshots.known().look_error.is_some() {
            return;
        }
        match self.due(now) {
            Some(Task::Snapshot) => {
                let taken = self.take(now).await;
                self.note_taken(taken, now);
            }
            Some(Task::Drill) => self.begin_drill(),
            None => {}
        }
    }

    fn note_taken(&mut self, taken: Result<(), SnapshotError>, now: Timestamp) {
        let error = taken.as_ref().err().map(ToString::to_string);
        if let Err(error) = taken {
            tracing::error!(error = chain(&error), "snapshots do not work; trying again in a minute");
            self.not_before = now.plus_seconds(RETRY_SECONDS);
        }
        self.snapshots.standing().snapshot_error = error;
    }

    /// Takes a last snapshot if nothing else protects what was committed.
    async fn end(&self) {
        if let Some(drilling) = &self.drilling {
            drilling.abort();
        }
        if self.snapshots.journal().is_some_and(|journal| journal.needs_snapshot) {
            match tokio::time::timeout(LAST_WORDS, self.snapshots.create(&mut |_, _| {})).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::error!(error = chain(&error), "what was committed last is in no snapshot"),
                Err(_) => tracing::error!("what was committed last is in no snapshot: there was no time for one"),
            }
        }
    }

    fn due(&self, now: Timestamp) -> Option<Task> {
        let known = self.snapshots.known();
        let tried_at = known.verified.map(|(_, at)| at).or(known.untried_since).or(known.taken_at);
        let facts = Facts {
            is_urgent: self.heals || self.snapshots.journal().is_some_and(|journal| journal.needs_snapshot),
            taken_at: known.taken_at,
            drilled_at: tried_at.unwrap_or(now),
            snapshot_waits: now < self.not_before,
            drill_waits: self.drilling.is_some() || now < self.no_drill_before,
        };
        due(&self.snapshots.0.settings, &facts, now)
    }

    /// Takes a snapshot and removes those that are not kept, unless another node has taken one meanwhile.
    async fn take(&mut self, now: Timestamp) -> Result<(), SnapshotError> {
        self.snapshots.look().await?;
        if self.due(now) != Some(Task::Snapshot) {
            return Ok(());
        }
        let manifest = self.holding(self.snapshots.create(&mut |_, _| {})).await?;
        self.heals = false;
        tracing::info!(snapshot = manifest.id, records = manifest.records, blobs = manifest.blobs, "a snapshot was taken");
        // What is tried must stay. The next snapshot is the next chance.
        if self.drilling.is_some() {
            return Ok(());
        }
        match self.holding(self.snapshots.prune()).await {
            Ok(pruned) if pruned.snapshots.is_empty() => {}
            Ok(pruned) => tracing::info!(snapshots = pruned.snapshots.len(), objects = pruned.objects, "snapshots were removed"),
            Err(SnapshotError::Busy(reason)) => tracing::info!(reason, "no snapshots were removed"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// A task of its own, since it may take longer than the time between two snapshots.
    fn begin_drill(&mut self) {
        let snapshots = self.snapshots.clone();
        self.drilling = Some(tokio::spawn(async move { snapshots.verify(&Choice::Newest, &mut |_, _| {}).await }));
    }

    /// Notes what came of a trial that has ended.
    async fn finish_drill(&mut self, now: Timestamp) {
        let Some(drilling) = self.drilling.take_if(|drilling| drilling.is_finished()) else { return };
        let failed = match drilling.await {
            Ok(Ok(Drilled { snapshot, records, .. })) => {
                tracing::info!(snapshot, records, "the newest snapshot was restored for trial, and is good");
                self.failed_drills = 0;
                return;
            }
            Ok(Err(error)) => {
                // What is damaged there is written again from what is whole here.
                self.heals |= matches!(error, SnapshotError::Damaged(_) | SnapshotError::Inconsistent(_));
                error.to_string()
            }
            Err(error) => error.to_string(),
        };
        self.failed_drills += 1;
        let pause_seconds = drill_pause_seconds(self.failed_drills);
        tracing::error!(error = failed, pause_seconds, "snapshots do not work: the newest could not be restored for trial");
        self.no_drill_before = now.plus_seconds(pause_seconds);
        self.snapshots.standing().drill_error = Some((now, failed));
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
async fn ship(snapshots: Snapshots, journal: Arc<JournaledStore>, shutdown: CancellationToken) {
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
    use crate::configuration::{Keys, RestoreChoice};

    const MINUTE: i64 = 60;

    #[test]
    fn a_day_has_its_snapshots_and_its_trial_though_both_are_due_at_once() {
        let (schedule, drill) = ("hourly".parse().unwrap(), "daily".parse().unwrap());
        let (retention, continuous, restore_on_boot) = (Retention::default(), true, RestoreChoice::Newest);
        let settings = SnapshotSettings {
            objects: None,
            keys: Keys::default(),
            password: None,
            schedule,
            drill,
            retention,
            continuous,
            restore_on_boot,
        };
        let begun = Timestamp::parse("2026-11-25T10:20:30Z").unwrap();
        let mut facts = Facts { is_urgent: false, taken_at: None, drilled_at: begun, snapshot_waits: false, drill_waits: false };
        let (mut snapshots, mut drills) = (0, 0);
        for minute in 0..3 * 24 * 60 {
            let now = begun.plus_seconds(minute * MINUTE);
            while let Some(task) = due(&settings, &facts, now) {
                match task {
                    Task::Snapshot => (facts.taken_at, snapshots) = (Some(now), snapshots + 1),
                    Task::Drill => (facts.drilled_at, drills) = (now, drills + 1),
                }
            }
        }
        assert_eq!((snapshots, drills), (1 + 3 * 24, 3));
        let (gap, taken_at) = (Facts { is_urgent: true, ..facts }, facts.taken_at.unwrap());
        assert_eq!(due(&settings, &gap, taken_at), Some(Task::Snapshot), "a gap does not wait");
        let later = taken_at.plus_seconds(3 * 24 * 60 * MINUTE);
        let drilling = Facts { drill_waits: true, ..facts };
        assert_eq!(due(&settings, &drilling, later), Some(Task::Snapshot), "a trial delays no snapshot");
        let failed = Facts { snapshot_waits: true, ..facts };
        assert_eq!(due(&settings, &failed, later), Some(Task::Drill), "a snapshot that fails delays no trial");
        assert_eq!(due(&settings, &Facts { drill_waits: true, ..failed }, later), None);
    }

    #[test]
    fn a_trial_that_fails_again_and_again_waits_longer_each_time() {
        let pauses: Vec<_> = (1..=9).map(drill_pause_seconds).collect();
        assert_eq!(pauses, [60, 120, 240, 480, 960, 1920, 3840, 7680, LONGEST_DRILL_PAUSE_SECONDS]);
        assert_eq!(drill_pause_seconds(u32::MAX), LONGEST_DRILL_PAUSE_SECONDS);
    }
}
