//! The outer side of a sandbox: makes the namespaces, and stays outside as the process by which they can be ended.

use std::{
    ffi::OsString,
    fs, io,
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{Command, ExitCode, ExitStatus},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{SigSet, Signal, kill},
    unistd::{Gid, Uid, getpid},
};
use serde::{Deserialize, Serialize};

use super::{NetworkLevel, Sandbox, confine, doing, launcher::INIT, line::Line};

/// How likely the kernel ends a run rather than the server when memory is short, from -1000 to 1000.
const OOM_SCORE: &str = "800";
/// What does not end the launcher: engines are interrupted over the line, where that cannot overtake their start.
const IGNORED: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// What a launcher is told that makes a sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Enclosure {
    /// The arguments that make this binary a supervisor, without its name.
    pub(super) words: Vec<OsString>,
    pub(super) sandbox: Sandbox,
}

/// Runs the sandbox to its end.
pub(super) fn run() -> io::Result<ExitCode> {
    let line = Line::of_standard_input()?;
    let Enclosure { words, sandbox } = line.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    drop(line);
    IGNORED.into_iter().collect::<SigSet>().thread_block()?;
    // Before the rights change hands; without it the kernel only chooses less well.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    make_namespaces(&sandbox)?;
    let mut command = Command::new("/proc/self/exe");
    let inner = io::stdin().as_fd().try_clone_to_owned()?;
    let mut init = doing("the sandbox", command.args(words).arg(INIT).env_clear().stdin(inner).spawn())?;
    Ok(end(init.wait()?))
}

fn make_namespaces(sandbox: &Sandbox) -> io::Result<()> {
    let mut flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWCGROUP;
    flags.set(CloneFlags::CLONE_NEWNET, sandbox.network.level == NetworkLevel::Cut);
    if sandbox.user.is_some() {
        // Root needs no user namespace, and a kernel without one around a run has one surface less.
        return doing("namespaces cannot be made", unshare(flags));
    }
    flags |= CloneFlags::CLONE_NEWUSER;
    let (uid, gid) = (Uid::effective(), Gid::effective());
    doing("namespaces cannot be made", unshare(flags))?;
    doing("groups", fs::write("/proc/self/setgroups", "deny"))?;
    doing("user ids", fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")))?;
    doing("group ids", fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")))?;
    confine::keep_rights_for_init()
}

/// Ends as the first process of the sandbox did.
fn end(status: ExitStatus) -> ExitCode {
    if let Some(code) = status.code() {
        return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
    }
    if let Some(signal) = status.signal().and_then(|number| Signal::try_from(number).ok()) {
        let _ = SigSet::all().thread_unblock();
        let _ = kill(getpid(), signal);
    }
    ExitCode::FAILURE
}
