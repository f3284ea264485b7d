//! The supervisor: one process for one job, which outlives whoever started it.
//!
//! It needs nobody: its instructions came at the start, the engine writes to files, state snapshots go to a durable
//! directory, and the end is a file too. The runner only reads along. If the runner dies, the work goes on and is
//! taken up again; if the supervisor dies, the engine is interrupted, which saves its state and ends.
//!
//! ```text
//! runner ──stdin──► supervisor ──launcher──► terraform ──► log, state file
//!    ▲                  │ flock, snapshots, done.json          │
//!    └──reads── spool ◄─┘◄───────────── inotify ───────────────┘
//! ```

pub(crate) mod instructions;
pub(crate) mod orphan;
pub(crate) mod requests;
pub(crate) mod snapshot;
mod stages;
pub(crate) mod timeout;
pub(crate) mod watch;

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    process::ExitCode,
};

use nix::{
    sys::{
        prctl,
        resource::{Resource, setrlimit},
    },
    unistd::setsid,
};

use self::{instructions::Instructions, stages::Supervision};
use crate::{files::lock, isolation::launcher};

/// The lock that a living supervisor holds.
pub(crate) const LOCK: &str = "lock";
/// The mark of the end.
pub(crate) const DONE: &str = "done.json";
/// The processes at work.
pub(crate) const ENGINES: &str = "engines.json";
/// The newest state snapshot, sealed.
pub(crate) const STATE: &str = "state.sealed";

/// The entry of a supervisor process; `arguments` are those after the words that chose it.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let ended = arguments.next().and_then(|word| launcher::run(&word, &mut arguments));
    ended.unwrap_or_else(|| supervise().map(|()| ExitCode::SUCCESS)).unwrap_or_else(|error| report(&error))
}

fn report(error: &io::Error) -> ExitCode {
    tell(&format!("Error: {error}"));
    ExitCode::FAILURE
}

/// Standard error is a file: of a supervisor one in the job's directory, of a launcher the log of the run. The disk may be full.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn supervise() -> io::Result<()> {
    // Its own session: no signal of a terminal reaches it, and no end of a parent.
    setsid()?;
    // What an engine leaves behind comes to this process, and not out of sight.
    prctl::set_child_subreaper(true)?;
    // The memory holds secrets.
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let instructions: Instructions = serde_json::from_str(&text)?;
    drop(text);
    let lock = lock(&instructions.spool.join(LOCK))?;
    let watch = orphan::watch(&instructions);
    let done = Supervision::new(&instructions)?.run();
    drop(lock);
    // What an apply left must reach the control plane, so somebody stays until it has.
    if let Some(watch) = watch.filter(|_| instructions.is_apply) {
        let _ = watch.join();
    }
    done
}
