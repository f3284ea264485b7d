//! The mark of a job on the runner's disk, by which a restarted runner finds it again. It holds no secret.

use std::{fs, io, path::Path};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use tfe_core::{id::Id, job::Job, run::Run};

use crate::{
    files::{private_directory, write_durably},
    supervisor::{
        DONE, ENGINES, LOCK,
        instructions::{Done, Engines},
    },
};

const FILE: &str = "handle.json";

/// The mark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Handle {
    pub(crate) job: Id<Job>,
    pub(crate) run: Id<Run>,
    /// How long the phase's log was when this job began with it.
    pub(crate) log_base: u64,
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

/// What the supervisor left at its end.
pub(crate) fn done(spool: &Path) -> Option<Done> {
    serde_json::from_slice(&fs::read(spool.join(DONE)).ok()?).ok()
}

/// Whether a supervisor lives: it holds the lock.
pub(crate) fn is_supervised(spool: &Path) -> bool {
    let Ok(file) = fs::OpenOptions::new().write(true).open(spool.join(LOCK)) else { return false };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
}

/// The engines that a supervisor that died has left.
pub(crate) fn engines(spool: &Path) -> Engines {
    fs::read(spool.join(ENGINES)).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}
