//! What a supervisor does when its runner is gone.
//!
//! A runner that is restarted takes up its jobs again, so for a moment nothing is done. After that a plan is worthless,
//! since it is made again elsewhere. An apply is not: it is interrupted, which lets it save what it has, and a courier
//! brings home what came of it, where one can be sent. The courier does what the runner would have done, for this one job.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    instructions::{Instructions, Orphanage},
    requests::{self, Stop},
    tell,
};
use crate::files::is_locked;

/// The file that a living runner has locked, in the directory of all its jobs.
pub(crate) const RUNNER_LOCK: &str = "runner.lock";
/// The mark of a job whose runner is gone.
const MARK: &str = "orphaned";
/// What couriers say, beside the directories of jobs: an operator looks there for a state that could not be brought home.
const COURIER_LOG: &str = "courier.log";
/// A longer log is put aside for a new one, in place of the one before. A courier tells of each call once.
const MAX_LOG_BYTES: u64 = 1 << 20;
/// How often the runner's lock is looked at.
const INTERVAL: Duration = Duration::from_millis(250);

/// Whether the job's runner was given up.
pub(crate) fn is_marked(spool: &Path) -> bool {
    spool.join(MARK).exists()
}

/// Watches over the runner from a thread of its own, for as long as the work goes on.
pub(crate) fn watch(instructions: &Instructions) -> Option<thread::JoinHandle<()>> {
    let orphanage = instructions.orphanage.clone()?;
    let (spool, is_apply) = (instructions.spool.clone(), instructions.is_apply);
    Some(thread::spawn(move || {
        if !until_orphaned(&orphanage, &spool) {
            return;
        }
        let stop = if is_apply { Stop::Interrupt } else { Stop::Kill };
        // Should marking fail, the disk is full; the courier finds out what can still be done.
        let _ = fs::write(spool.join(MARK), []).and_then(|()| requests::make(&spool, stop));
        if is_apply
            && !orphanage.courier.is_empty()
            && let Err(error) = send_courier(&orphanage, &spool)
        {
            tell(&format!("a courier cannot be sent: {error}"));
        }
    }))
}

/// Waits until the runner has been gone for its time. False once the job's directory is gone, since then all is done.
fn until_orphaned(orphanage: &Orphanage, spool: &Path) -> bool {
    let patience = Duration::from_millis(orphanage.patience_millis);
    let mut gone_since = None;
    while spool.exists() {
        if is_locked(&orphanage.runner_lock) {
            gone_since = None;
        } else if gone_since.get_or_insert_with(Instant::now).elapsed() >= patience {
            return true;
        }
        thread::sleep(INTERVAL);
    }
    false
}

/// Starts a courier and hands it what it needs over a pipe.
fn send_courier(orphanage: &Orphanage, spool: &Path) -> io::Result<()> {
    let (program, arguments) = orphanage.courier.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    // It goes on its way without words where there is no room for them. A pipe would end it together with this process.
    let words = courier_log(spool).map_or_else(|_| Stdio::null(), Stdio::from);
    command.args(arguments).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(words);
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    input.write_all(orphanage.letter.expose().as_bytes())?;
    drop(input);
    // The supervisor stays until its courier is done, so that no zombie does.
    child.wait().map(drop)
}

fn courier_log(spool: &Path) -> io::Result<File> {
    let path = spool.with_file_name(COURIER_LOG);
    if fs::metadata(&path).is_ok_and(|log| log.len() > MAX_LOG_BYTES) {
        fs::rename(&path, path.with_extension("log.old"))?;
    }
    File::options().append(true).create(true).mode(0o600).open(path)
}
