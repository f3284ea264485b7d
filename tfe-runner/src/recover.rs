//! After a supervisor died: ending what it left, and finding the newest state.

use std::{fs, path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tfe_core::state::StateFile;
use tokio::time::Instant;

use crate::{
    artifacts, handle,
    job::Assignment,
    paths::Paths,
    supervisor::{
        STATE,
        snapshot::{self, MAX_STATE_BYTES},
    },
};

/// How long an engine that was interrupted since its supervisor died may take to save and end.
const GRACE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(20);

/// Waits for the engines to end, which they were asked to when their supervisor died, and ends them after the grace time.
pub(crate) async fn end_engines(spool: &Path) {
    let engines = handle::engines(spool).processes;
    let deadline = Instant::now() + GRACE;
    while engines.iter().any(|engine| engine.is_alive()) && Instant::now() < deadline {
        tokio::time::sleep(TICK).await;
    }
    kill_engines(spool);
}

/// Ends the engines and all that they started.
pub(crate) fn kill_engines(spool: &Path) {
    for engine in handle::engines(spool).processes {
        // Without its leader the group's number may be another's already; with it, it is surely this one's.
        if engine.is_alive() {
            let _ = killpg(Pid::from_raw(engine.pid), Signal::SIGKILL);
        }
    }
}

/// The newest whole state of what the engine and the supervisor left.
pub(crate) fn newest_state(paths: &Paths, assignment: &Assignment) -> Option<Vec<u8>> {
    let artifact = |path: &Path| artifacts::read(&paths.work, path, MAX_STATE_BYTES).ok().flatten();
    let sealed = fs::read(paths.spool.join(STATE)).ok();
    let spooled = sealed.and_then(|sealed| snapshot::open(&assignment.spool_key, assignment.job.as_str(), &sealed));
    let directory = artifacts::directory(&paths.work, &paths.configuration(), &assignment.spec.working_directory);
    let candidates = [artifact(&paths.state(&assignment.spec.workspace)), spooled, artifact(&directory.join("errored.tfstate"))];
    let whole = candidates.into_iter().flatten().filter(|content| snapshot::is_whole(content));
    whole.max_by_key(|content| StateFile::parse(content).map_or(0, |state| state.serial))
}
