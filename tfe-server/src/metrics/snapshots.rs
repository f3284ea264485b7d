//! How old the newest snapshot is, when one was last restored for trial, and how far the journal is behind.

use std::sync::atomic::AtomicU64;

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use tfe_core::time::Timestamp;

use crate::app::App;

/// Seconds as Prometheus has them.
type Seconds = Gauge<f64, AtomicU64>;

/// Adds the figures, those that are known.
pub(super) fn register(registry: &mut Registry, app: &App) {
    let Some(snapshots) = &app.snapshots else { return };
    let (known, now) = (snapshots.known(), app.now());
    let mut age = |name: &str, help: &str, since: Timestamp| {
        let gauge = Seconds::default();
        gauge.set(seconds(now.millis_since(since)));
        registry.register(name, help, gauge);
    };
    if let Some(taken_at) = known.taken_at {
        age("snapshot_age_seconds", "The age of the newest snapshot", taken_at);
    }
    if let Some((_, verified_at)) = known.verified {
        age("snapshot_verified_age_seconds", "How long ago the newest snapshot was restored for trial", verified_at);
    }
    if let Some(journal) = snapshots.journal() {
        let lag = journal.behind_since.unwrap_or(now);
        age("journal_lag_seconds", "How much would be lost with this machine", lag);
    }
    let works = Gauge::<i64>::default();
    works.set(i64::from(known.error().is_none()));
    registry.register("snapshots_work", "Whether the last snapshot and the last trial went well (1) or not (0)", works);
}

fn seconds(millis: u64) -> f64 {
    std::time::Duration::from_millis(millis).as_secs_f64()
}
