//! Whether the parts of the system work, asked for in the background so that every answer is immediate.

mod disk;
mod loops;
mod report;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tfe_core::{installation::Installation, run::Status};
use tfe_storage::{Batch, StoreExt};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{app::App, error::chain, service::nodes};

pub use self::report::{Check, Condition, Report};
use self::{disk::Disk, loops::Loops};

/// How long after one round the next begins. With [`TIMEOUT`] it bounds how long a part that died can go unseen: two seconds.
const INTERVAL: Duration = Duration::from_millis(750);
/// How long a part may take to answer before it counts as failed.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How old the newest report may be: a round and the pause before it, and a little for a busy machine.
const MAX_AGE: Duration = Duration::from_secs(2);
/// The names of the checks, as Terraform Enterprise calls them where it has them.
const DATABASE: &str = "database";
const OBJECT_STORAGE: &str = "object-storage";
const VAULT: &str = "vault";
const QUEUE: &str = "queue";
const REDIS: &str = "redis";
const DISK: &str = "disk";
/// The check of this node's clock against those of others.
const CLOCK: &str = "clock";
/// The check of the checks and of the other loops: that they are made, and work.
const BACKGROUND: &str = "background";

/// The newest report on the parts; cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    report: Arc<watch::Sender<Option<Report>>>,
    /// When the newest report was made.
    reported_at: Arc<Mutex<Option<Instant>>>,
    disk: Option<Arc<Disk>>,
    pub(crate) loops: Loops,
    draining: Arc<AtomicBool>,
    paused: Arc<AtomicBool>,
    handed_over: Arc<AtomicBool>,
}

impl Health {
    /// No report yet. The directory is the one whose free space matters to this node.
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        let disk = directory.map(|directory| Arc::new(Disk::new(directory)));
        Self {
            report: Arc::new(watch::channel(None).0),
            reported_at: Arc::default(),
            disk,
            loops: Loops::default(),
            draining: Arc::default(),
            paused: Arc::default(),
            handed_over: Arc::default(),
        }
    }

    /// The newest report, if the first round has ended. One that is too old says so: whatever asks the parts hangs. So does one
    /// after which a background loop broke.
    pub fn report(&self) -> Option<Report> {
        let mut report = self.report.borrow().clone()?;
        let stale = || (!self.is_fresh()).then(|| format!("the parts were not asked for {} seconds", MAX_AGE.as_secs()));
        report.checks.extend(self.broken_loop().or_else(stale).map(|reason| Check::of(BACKGROUND, Err(reason))));
        Some(report)
    }

    /// What is wrong with a loop of the background, against which only a new start of the process helps; none if they all work.
    pub fn broken_loop(&self) -> Option<String> {
        self.loops.broken()
    }

    /// Whether the parts were asked lately, whatever they answered.
    pub fn is_fresh(&self) -> bool {
        self.reported_at().is_some_and(|at| at.elapsed() <= MAX_AGE)
    }

    fn reported_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.reported_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_report(&self, report: Report) {
        *self.reported_at() = Some(Instant::now());
        self.report.send_replace(Some(report));
    }

    /// The newest report; waits for the first one.
    pub async fn first_report(&self, timeout: Duration) -> Option<Report> {
        let mut watch = self.report.subscribe();
        let first = watch.wait_for(Option::is_some);
        drop(tokio::time::timeout(timeout, first).await.ok()?.ok()?);
        self.report()
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

    /// Whether this node's own runner gets no new jobs for a while; workers elsewhere do, and clients notice nothing.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Gives this node's own runner no new jobs, or gives it some again.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    /// Whether another process is this node from now on. This one then gives out no jobs, and tells nobody that it ends: the
    /// node does not.
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// Says that another process is this node from now on.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
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
        let checks = tokio::join!(database(&app), object_storage(&app), vault(&app), queue(&app), redis(&app), clock(&app));
        let (clock, mut checks) = (checks.5, vec![checks.0, checks.1, checks.2, checks.3, checks.4]);
        if let Some(disk) = &app.health.disk {
            checks.push(Check::of(DISK, disk.check()));
        }
        let previous = app.health.report();
        // Whoever waits for a part that is away hangs for a reason that is told already.
        if checks.iter().any(|check| check.condition == Condition::Error) {
            app.health.loops.excuse();
        }
        checks.push(clock);
        for check in &checks {
            tell(previous.as_ref(), check);
        }
        let draining = app.health.is_draining();
        app.health.set_report(Report { node: app.settings.node.clone(), draining, checks });
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

async fn database(app: &App) -> Check {
    let asked = async { read_and_commit(app).await.map_err(|error| chain(&error)) };
    Check::of(DATABASE, limited(asked).await)
}

/// Both, since commits have connections of their own, and a database that cannot write can often read. The commit changes nothing.
async fn read_and_commit(app: &App) -> tfe_storage::Result<()> {
    let Some(installation) = app.store.find::<Installation>(Installation::only_id().as_str()).await? else { return Ok(()) };
    match app.store.commit(Batch::new().check(&installation)).await {
        // It answered.
        Ok(()) | Err(tfe_storage::Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
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

/// Whether another node has a clock that is too far ahead of this one's; it sees nothing of that, since what this one notes looks old.
async fn clock(app: &App) -> Check {
    // Leases that seem to end too soon cost work that is done again, and no run.
    Check::of(CLOCK, limited(async { same_time(app).await }).await).optional()
}

async fn same_time(app: &App) -> Result<(), String> {
    // Without the database nothing can be said of clocks, and that it is away is told already.
    let nodes = nodes::list(app).await.unwrap_or_default();
    match nodes.iter().find_map(|node| Some((&node.name, node.clock_skew_seconds(app.now())?))) {
        None => Ok(()),
        Some((name, ahead)) => Err(format!(
            "the clock of {name} is {ahead} s or more ahead of this node's; set both by the same time servers, since leases are \
             measured by them"
        )),
    }
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
