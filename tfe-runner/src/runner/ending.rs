//! What is done about a job that is over here: its directories go, and what it made and nobody has acknowledged does not.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tfe_core::{id::Id, job::Job};
use tokio::time::Instant;

use super::{Attempt, Gone, Next, Shared};
use crate::{
    control::ControlError,
    files::{private_directory, remove_tree, write_durably},
    handle::{self, Handle},
    isolation::of_run,
    paths::Paths,
    recover,
    retry::until_acknowledged,
    supervisor::{
        LOCK, STATE,
        requests::{self, Stop},
    },
};

/// How often the work directories of runs that are over are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// How long an apply that is another's may take to save its state.
const SURRENDER_GRACE: Duration = Duration::from_secs(30);
/// How long a supervisor may take to end after its engine was killed: it has a snapshot and a mark left to write.
const SUPERVISOR_GRACE: Duration = Duration::from_secs(30);
/// How often it is looked whether a supervisor has ended.
const LIFE_INTERVAL: Duration = Duration::from_millis(10);
/// Where states are kept that nobody takes any more, sealed, in the spool directory.
const KEPT: &str = "kept";

impl Shared {
    /// Cleans up after a job, while it is still locked against others who would follow it. Says what is left to do once it is not.
    pub(super) async fn conclude(&self, held: &(Id<Job>, Attempt), paths: &Paths, done: Result<(), Gone>) -> Next {
        let job = &held.0;
        let (is_done, is_broken) = (done.is_ok(), matches!(done, Err(Gone::Broken(_))));
        match done {
            Ok(()) => {}
            Err(Gone::Left) => return Next::Nothing,
            Err(Gone::Fenced) => {
                tracing::warn!(%job, "another runner has the job, or it is over; what is left of it here is ended");
                self.surrender(job, paths).await;
            }
            Err(Gone::Broken(reason)) => {
                tracing::error!(%job, reason, "a job cannot go on here");
                // What an apply has made may have no other record than what it leaves here, and a mark that cannot be read may be one's.
                let is_plan = Handle::read(&paths.spool).is_some_and(|handle| !handle.is_apply) && !paths.spool.join(STATE).exists();
                if !is_plan && paths.spool.join(LOCK).exists() {
                    return Next::TakeUp;
                }
                // A plan is made again elsewhere, and not beside this one.
                end(&paths.spool).await;
            }
        }
        // What it still writes would keep the directory from going, or its last snapshot from being kept.
        if is_released(&paths.spool, SUPERVISOR_GRACE).await {
            remove(&paths.spool);
        } else {
            tracing::error!(%job, "the supervisor of a job does not end; its directory stays until the next start of this runner");
        }
        if is_broken {
            self.broken().insert(job.clone());
        }
        self.holds().remove(held);
        if is_done {
            self.keep_plugins(paths).await;
        }
        self.remove_if_over(&paths.work).await;
        Next::Nothing
    }

    /// Keeps what the run downloaded, for others. Nobody waits for it, and without it they download that again.
    async fn keep_plugins(&self, paths: &Paths) {
        let (Some(plugins), paths) = (self.plugins.clone(), paths.clone()) else { return };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || plugins.keep(&paths)).await {
            tracing::warn!(%error, "what a run downloaded is not kept");
        }
    }

    /// Ends what is left of a job that is not this runner's any more. An apply has made things that no state knows yet, so it
    /// may save, and its state is offered.
    async fn surrender(&self, job: &Id<Job>, paths: &Paths) {
        let is_apply = Handle::read(&paths.spool).is_some_and(|handle| handle.is_apply);
        if is_apply {
            let _ = requests::make(&paths.spool, Stop::Interrupt);
            is_released(&paths.spool, SURRENDER_GRACE).await;
        }
        end(&paths.spool).await;
        let Ok(sealed) = fs::read(paths.spool.join(STATE)).map(bytes::Bytes::from) else { return };
        match until_acknowledged(|| self.control.bring_late_state(job, sealed.clone())).await {
            Ok(()) => tracing::info!(%job, "the last state of an apply that was given up is saved"),
            Err(ControlError::Fenced | ControlError::Unavailable(_)) => {}
            Err(ControlError::Refused(reason)) => {
                let kept = self.config.spool_root.join(KEPT).join(job.as_str());
                let moved = private_directory(&self.config.spool_root.join(KEPT)).and_then(|()| fs::rename(&paths.spool, &kept));
                let failure = moved.err();
                tracing::error!(%job, reason, ?failure, kept = %kept.display(), "the last state of an apply cannot be taken any more; it is kept");
            }
        }
    }

    /// Keeps a sealed state for whoever looks for it, and says where.
    pub(super) fn keep(&self, job: &Id<Job>, sealed: &[u8]) -> io::Result<PathBuf> {
        let kept = self.config.spool_root.join(KEPT).join(job.as_str());
        private_directory(&kept)?;
        let kept = kept.join(STATE);
        write_durably(&kept, sealed)?;
        Ok(std::path::absolute(&kept).unwrap_or(kept))
    }

    pub(super) async fn remove_if_over(&self, work: &Path) {
        let Some(run) = work.file_name().and_then(|name| name.to_str()) else { return };
        if self.control.is_over(&Id::from(run)).await.unwrap_or(false) {
            remove(work);
        }
    }
}

/// Removes the work directories of runs that ended elsewhere: discarded, canceled, or applied by another runner.
pub(super) async fn sweep(shared: Arc<Shared>) {
    if let Err(error) = private_directory(&shared.config.work_root).and_then(|()| private_directory(&shared.config.spool_root)) {
        tracing::error!(%error, "the runner's directories cannot be made");
    }
    loop {
        for entry in fs::read_dir(&shared.config.work_root).into_iter().flatten().filter_map(Result::ok) {
            shared.remove_if_over(&entry.path()).await;
        }
        let isolation = shared.config.isolation.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || of_run::sweep(&isolation)).await {
            tracing::warn!(%error, "filters of users that no run has could not be removed; the sweep tries again");
        }
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// Ends what still runs of a job, at once.
async fn end(spool: &Path) {
    let _ = requests::make(spool, Stop::Kill);
    recover::kill_engines(spool);
    is_released(spool, SUPERVISOR_GRACE).await;
}

/// Waits until nobody supervises the job any more, and says whether that is so.
async fn is_released(spool: &Path, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while handle::is_supervised(spool) {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LIFE_INTERVAL).await;
    }
    true
}

fn remove(directory: &Path) {
    if let Err(error) = remove_tree(directory) {
        tracing::warn!(%error, "a directory could not be removed; the sweep tries again");
    }
}
