//! Whether the parts of the system work, asked for in the background so that every answer is immediate.

mod disk;
mod report;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tfe_core::run::Status;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{app::App, error::chain};

use self::disk::Disk;
pub use self::report::{Check, Condition, Report};

/// How often the parts are asked.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long a part may take to answer before it counts as failed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The names of the checks, as Terraform Enterprise calls them where it has them.
const DATABASE: &str = "database";
const OBJECT_STORAGE: &str = "object-storage";
const VAULT: &str = "vault";
const QUEUE: &str = "queue";
const REDIS: &str = "redis";
const DISK: &str = "disk";

/// The newest report on the parts; cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    report: Arc<watch::Sender<Option<Report>>>,
    disk: Option<Arc<Disk>>,
    draining: Arc<AtomicBool>,
}

impl Health {
    /// No report yet. The directory is the one whose free space matters to this node.
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        let disk = directory.map(|directory| Arc::new(Disk::new(directory)));
        Self { report: Arc::new(watch::channel(None).0), disk, draining: Arc::default() }
    }

    /// The newest report, if the first round has ended.
    pub fn report(&self) -> Option<Report> {
        self.report.borrow().clone()
    }

    /// The newest report; waits for the first one.
    pub async fn first_report(&self, timeout: Duration) -> Option<Report> {
        let mut watch = self.report.subscribe();
        let first = watch.wait_for(Option::is_some);
        tokio::time::timeout(timeout, first).await.ok()?.ok()?.clone()
    }

    /// Why a run in that status cannot go on at present, if it is because of a part of the system.
    pub(crate) fn hindrance(&self, status: Status) -> Option<String> {
        let waits = matches!(status, Status::Pending | Status::PlanQueued | Status::Confirmed | Status::ApplyQueued);
        let report = self.report.borrow();
        let hinders = |check: &&Check| waits && !check.optional && check.condition == Condition::Error;
        let failed = report.as_ref()?.checks.iter().find(hinders)?;
        Some(format!("waiting for {}: {}", failed.name, failed.reason.as_deref().unwrap_or("it does not work")))
    }

    /// Whether new work can be begun, as far as is known.
    pub(crate) fn takes_work(&self) -> bool {
        self.hindrance(Status::Pending).is_none()
    }

    /// Why nothing new can be stored, if the disk is full.
    pub(crate) fn full_disk(&self) -> Option<String> {
        let report = self.report.borrow();
        report.as_ref()?.checks.iter().find(|check| check.name == DISK)?.reason.clone()
    }

    /// Whether this node takes no new work, since it ends or an operator wants it so.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Says in every later report whether this node takes new work.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
        self.report.send_modify(|report| {
            if let Some(report) = report {
                report.draining = draining;
            }
        });
    }
}

/// Asks the parts until `shutdown`.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    loop {
        let checks = tokio::join!(database(&app), object_storage(&app), vault(&app), queue(&app), redis(&app));
        let mut checks = vec![checks.0, checks.1, checks.2, checks.3, checks.4];
        if let Some(disk) = &app.health.disk {
            checks.push(Check::of(DISK, disk.check()));
        }
        let previous = app.health.report();
        for check in &checks {
            tell(previous.as_ref(), check);
        }
        let draining = app.health.is_draining();
        app.health.report.send_replace(Some(Report { node: app.settings.node.clone(), draining, checks }));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn database(app: &App) -> Check {
    let asked = async { setup_record(app).await.map_err(|error| chain(&error)) };
    Check::of(DATABASE, limited(asked).await)
}

async fn setup_record(app: &App) -> tfe_storage::Result<()> {
    use tfe_core::installation::{INSTALLATIONS, Installation};
    app.store.get(&INSTALLATIONS, Installation::only_id().as_str()).await.map(drop)
}

async fn object_storage(app: &App) -> Check {
    Check::of(OBJECT_STORAGE, limited(async { app.blobs.check().await.map_err(|error| chain(&error)) }).await)
}

async fn vault(app: &App) -> Check {
    Check::of(VAULT, limited(async { app.vault.check().await.map_err(|error| chain(&error)) }).await)
}

async fn queue(app: &App) -> Check {
    // Without it hints are lost, and the reconciler's tick finds what they were about.
    Check::of(QUEUE, limited(async { app.queue.check().await.map_err(|error| chain(&error)) }).await).optional()
}

async fn redis(app: &App) -> Check {
    // Without it notices of other nodes are lost, and those who wait look again every second.
    Check::of(REDIS, limited(async { app.coordination.check().await.map_err(|error| chain(&error)) }).await).optional()
}

async fn limited(asked: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let late = Err(format!("no answer within {} seconds", TIMEOUT.as_secs()));
    tokio::time::timeout(TIMEOUT, asked).await.unwrap_or(late)
}

/// A line in the log when something changes, and none while it stays as it is.
fn tell(previous: Option<&Report>, check: &Check) {
    let before = previous.and_then(|report| report.checks.iter().find(|other| other.name == check.name));
    match (before.map(|check| check.condition), check.condition) {
        (Some(Condition::Ok) | None, Condition::Error) => {
            tracing::error!(part = check.name, reason = check.reason.as_deref(), "a part of the system does not work");
        }
        (Some(Condition::Error), Condition::Ok) => tracing::warn!(part = check.name, "works again"),
        _ => {}
    }
}
