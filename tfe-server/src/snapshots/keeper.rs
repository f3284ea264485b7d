//! Taking snapshots when it is time, trying them, and shipping what is committed between them.

use std::time::Duration;

use tfe_core::time::{Clock, Timestamp};
use tfe_storage::snapshot::{Choice, Shipper, SnapshotError};
use tokio_util::sync::CancellationToken;

use super::Snapshots;
use crate::{app::App, error::chain, service::duties, system::SystemClock};

/// The duty of the node that takes snapshots.
const DUTY: &str = "snapshots";
/// How often it is looked whether it is time. The duty is kept by looking.
const TICK: Duration = Duration::from_secs(1);
/// How long after a failure it is tried again.
const RETRY_SECONDS: i64 = 60;
/// How long what was committed last may take to be shipped when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Does what the operator chose, until `shutdown`.
pub async fn run(app: App, snapshots: Snapshots, shutdown: CancellationToken) {
    let shipping = tokio::spawn(ship(snapshots.clone(), shutdown.clone()));
    let mut keeper = Keeper { app, snapshots, not_before: Timestamp::default(), verified_at: None, is_known: false };
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
    verified_at: Option<Timestamp>,
    /// Whether the newest snapshot in the repository was looked for.
    is_known: bool,
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
        if !self.is_known {
            let newest = self.snapshots.list().await?.into_iter().find_map(|listed| listed.manifest.ok());
            self.snapshots.standing().taken_at = newest.map(|manifest| manifest.created_at);
            self.is_known = true;
        }
        let settings = &self.snapshots.0.settings;
        let known = self.snapshots.known();
        let has_gap = self.snapshots.journal().is_some_and(|journal| journal.needs_snapshot);
        if has_gap || settings.schedule.is_due(known.taken_at, now) {
            let manifest = self.holding(self.snapshots.create(&mut |_, _| {})).await?;
            tracing::info!(snapshot = manifest.id, records = manifest.records, blobs = manifest.blobs, "a snapshot was taken");
            match self.holding(self.snapshots.prune()).await {
                Ok(pruned) if pruned.snapshots.is_empty() => {}
                Ok(pruned) => tracing::info!(snapshots = pruned.snapshots.len(), objects = pruned.objects, "snapshots were removed"),
                // The next snapshot is the next chance.
                Err(SnapshotError::Busy(reason)) => tracing::info!(reason, "no snapshots were removed"),
                Err(error) => return Err(error),
            }
            return Ok(true);
        }
        let verified_at = self.verified_at.or(known.taken_at);
        if settings.drill.is_due(verified_at, now) {
            let drilled = self.holding(self.snapshots.verify(&Choice::Newest, &mut |_, _| {})).await?;
            self.verified_at = Some(now);
            tracing::info!(
                snapshot = drilled.snapshot,
                records = drilled.records,
                "the newest snapshot was restored for trial, and is good"
            );
            return Ok(true);
        }
        Ok(false)
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
            () = tokio::time::sleep(pause) => pause = (2 * pause).min(Duration::from_secs(30)),
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
