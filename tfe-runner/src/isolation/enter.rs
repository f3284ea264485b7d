//! The outer side of a sandbox: makes the namespaces, stays outside, and passes signals in and the end out.

use std::{
    fs,
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    process::{Child, Command, ExitCode, ExitStatus},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{SigSet, Signal, kill},
    unistd::{Gid, Pid, Uid, getpid},
};
use serde::{Deserialize, Serialize};

use super::{
    NetworkLevel, Sandbox, confine, direct, doing,
    launcher::{INIT, Message},
};

/// How likely the kernel ends a run rather than the server when memory is short, from -1000 to 1000.
const OOM_SCORE: &str = "800";
/// What is passed on to the engine.
const FORWARDED: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// How the engine ended, as its sandbox tells.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
}

/// Runs the sandbox to its end; `text` is the message as it came.
pub(super) fn run(text: &[u8], message: &Message, sandbox: &Sandbox) -> io::Result<ExitCode> {
    let signals = block()?;
    // Before the rights change hands; without it the kernel only chooses less well.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    make_namespaces(sandbox)?;
    direct::end_with(message.parent)?;
    let (mut line, inner) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    let mut init = doing("the sandbox", command.args(&message.words).arg(INIT).env_clear().stdin(OwnedFd::from(inner)).spawn())?;
    // The command keeps its own copy of the other end, which would hide that the sandbox is gone.
    drop(command);
    line.write_all(text)?;
    line.shutdown(Shutdown::Write)?;
    // Before there is an engine, an interrupt would be lost.
    if line.read_exact(&mut [0]).is_ok() {
        forward(&signals, &mut init)?;
    }
    let status = init.wait()?;
    let mut report = String::new();
    line.read_to_string(&mut report)?;
    Ok(end(serde_json::from_str(&report).unwrap_or_else(|_| ended(status))))
}

/// Becomes the program with everything that needs no namespaces.
pub(super) fn confined(message: &Message, sandbox: &Sandbox) -> io::Error {
    let confined = || {
        confine::resources(&sandbox.limits)?;
        confine::give_up_rights(sandbox.user)?;
        direct::end_with(message.parent)?;
        confine::restrict(sandbox)
    };
    confined().err().unwrap_or_else(|| direct::become_program(&message.launch))
}

/// Makes signals wait until somebody takes them one by one.
pub(super) fn block() -> io::Result<SigSet> {
    let mut signals: SigSet = FORWARDED.into_iter().collect();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;
    Ok(signals)
}

/// Whether a signal is to be passed on.
pub(super) fn is_forwarded(signal: Signal) -> bool {
    FORWARDED.contains(&signal)
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

fn forward(signals: &SigSet, init: &mut Child) -> io::Result<()> {
    let pid = Pid::from_raw(i32::try_from(init.id()).map_err(io::Error::other)?);
    while init.try_wait()?.is_none() {
        let signal = signals.wait()?;
        if is_forwarded(signal) {
            kill(pid, signal)?;
        }
    }
    Ok(())
}

fn ended(status: ExitStatus) -> Ended {
    status.code().map_or_else(|| Ended::Signal(status.signal().unwrap_or(Signal::SIGKILL as i32)), Ended::Code)
}

/// Ends as the engine did.
fn end(ended: Ended) -> ExitCode {
    match ended {
        Ended::Code(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Ended::Signal(number) => {
            if let Ok(signal) = Signal::try_from(number) {
                let _ = SigSet::all().thread_unblock();
                let _ = kill(getpid(), signal);
            }
            // A signal that does not end this process; shells say it so.
            ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX))
        }
    }
}
