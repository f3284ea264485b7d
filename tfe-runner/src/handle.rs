//! The mark of a job on the runner's disk, by which a restarted runner finds it again. It holds no secret.

use std::{fs, io, path::Path, time::Duration};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize};
use tfe_core::{id::Id, job::Job, run::Run};

use crate::{
    files::{is_locked, private_directory, write_durably},
    supervisor::{
        DONE, ENGINES, LOCK,
        instructions::{Done, Engines},
    },
};

const FILE: &str = "handle.json";
/// The file that is locked by who follows the job: a runner, or a courier in its place.
const FOLLOWER: &str = "follower.lock";
/// How often a lock is tried that another one has.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// The mark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Handle {
    pub(crate) job: Id<Job>,
    pub(crate) run: Id<Run>,
    /// How long the phase's log was when this job began with it.
    pub(crate) log_base: u64,
    /// Whether it is an apply, which leaves a state.
    #[serde(default)]
    pub(crate) is_apply: bool,
}

impl Handle {
    /// Leaves the mark.
    pub(crate) fn write(&self, spool: &Path) -> io::Result<()> {
        private_directory(spool)?;
        write_durably(&spool.join(FILE), &serde_json::to_vec(self)?)
    }

    /// Finds the mark.
    pub(crate) fn read(spool: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(spool.join(FILE)).ok()?).ok()
    }
}

/// Becomes the one who follows the job, after those before. None if they have finished it.
pub(crate) async fn follow(spool: &Path) -> io::Result<Option<Flock<fs::File>>> {
    loop {
        if !spool.join(FILE).exists() {
            return Ok(None);
        }
        let file = match fs::OpenOptions::new().write(true).create(true).truncate(false).open(spool.join(FOLLOWER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // The directory may have gone together with the lock of the one before.
            Ok(lock) if spool.join(FILE).exists() => return Ok(Some(lock)),
            Ok(_) => return Ok(None),
            Err((_, Errno::EAGAIN)) => tokio::time::sleep(LOCK_INTERVAL).await,
            Err((_, error)) => return Err(error.into()),
        }
    }
}

/// What the supervisor left at its end.
pub(crate) fn done(spool: &Path) -> Option<Done> {
    serde_json::from_slice(&fs::read(spool.join(DONE)).ok()?).ok()
}

/// Whether a supervisor lives: it holds the lock.
pub(crate) fn is_supervised(spool: &Path) -> bool {
    is_locked(&spool.join(LOCK))
}

/// The engines that a supervisor that died has left.
pub(crate) fn engines(spool: &Path) -> Engines {
    fs::read(spool.join(ENGINES)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}
