//! The launcher: the process between a supervisor and an engine.
//!
//! It arranges what only a child can arrange for itself. It gets everything over its standard input: arguments can be
//! read by every process of a machine, and an environment that a run chose would decide what libraries the launcher
//! loads while it still has all its rights.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read, Write},
    os::{fd::RawFd, unix::process::CommandExt},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::{Pid, close},
};
use rustix::process::{WaitId, WaitIdOptions, WaitOptions, waitid, waitpgid};
use serde::{Deserialize, Serialize};

use super::{Ended, Isolation, Launch, Level, Sandbox, confine, direct, enter, init, knock};
use crate::processes;

/// The last of the three descriptors that every program has.
const STANDARD_ERROR: RawFd = 2;
/// The argument that chooses the launcher of one step.
const LAUNCH: &str = "launch";
/// The argument that chooses the launcher of a sandbox.
pub(super) const ENCLOSE: &str = "enclose";
/// The argument that chooses the end of all processes of a run's user.
const END: &str = "end";
/// The argument that chooses an attempt to reach a port.
pub(super) const KNOCK: &str = "knock";
/// The argument that chooses the first process of a sandbox.
pub(super) const INIT: &str = "init";

/// How often processes are ended anew, each time after [`END_PAUSE`]: a second in all, many times what the kernel takes.
const MAX_END_ROUNDS: u32 = 1000;
/// Between two rounds.
const END_PAUSE: Duration = Duration::from_millis(1);

/// What a launcher is told.
#[derive(Debug, Serialize, Deserialize)]
struct Message {
    /// The process whose end interrupts the engine.
    parent: i32,
    isolation: Isolation,
    launch: Launch,
}

/// Ends every process of a sandbox's user.
pub(super) fn end_user(supervisor: &[OsString], sandbox: &Sandbox) -> io::Result<()> {
    let (Some((program, words)), Some(user)) = (supervisor.split_first(), sandbox.user) else { return Ok(()) };
    let ended = Command::new(program).args(words).args([END, &user.to_string()]).env_clear().stdin(Stdio::null()).status()?;
    if ended.success() { Ok(()) } else { Err(io::Error::other("what a run left behind could not be ended")) }
}

/// Starts the launcher of this supervisor.
pub(super) fn start(supervisor: &[OsString], isolation: &Isolation, launch: &Launch, output: File, errors: File) -> io::Result<Child> {
    let (program, words) = supervisor.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let message = Message { parent, isolation: isolation.clone(), launch: launch.clone() };
    let mut command = Command::new(program);
    command.args(words).arg(LAUNCH).current_dir("/").env_clear().stdin(Stdio::piped()).stdout(output).stderr(errors).process_group(0);
    let mut child = command.spawn()?;
    unless_gone(child.stdin.take().map_or(Ok(()), |mut input| input.write_all(&serde_json::to_vec(&message)?)))?;
    Ok(child)
}

/// Whether a launcher could be told something. Whatever made it end before it had read all is in its errors and its exit code.
pub(super) fn unless_gone(told: io::Result<()>) -> io::Result<()> {
    match told {
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(()),
        told => told,
    }
}

/// The number of a process that was started.
pub(super) fn pid(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
}

/// Waits for the end of a child and leaves it to be collected, so that its number is still its own.
pub(super) fn await_end(pid: Pid) -> Ended {
    // Somebody else has collected it, so nobody knows.
    const UNKNOWN: Ended = Ended::Signal(Signal::SIGKILL as i32);
    let Some(pid) = rustix::process::Pid::from_raw(pid.as_raw()) else { return UNKNOWN };
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => {
                let signal = status.terminating_signal().map(Ended::Signal);
                return status.exit_status().map(Ended::Code).or(signal).unwrap_or(UNKNOWN);
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return UNKNOWN,
        }
    }
}

/// Waits for the end of all children in a process group, and collects them.
pub(super) fn await_group(leader: Pid) {
    let Some(leader) = rustix::process::Pid::from_raw(leader.as_raw()) else { return };
    while matches!(waitpgid(leader, WaitOptions::empty()), Ok(_) | Err(rustix::io::Errno::INTR)) {}
}

/// Does what a first argument asks for, if it is one of a launcher's.
pub(crate) fn run(word: &OsStr, arguments: &mut dyn Iterator<Item = OsString>) -> Option<io::Result<ExitCode>> {
    match word.to_str()? {
        LAUNCH => Some(launch()),
        ENCLOSE => Some(close_inherited().and_then(|()| enter::run())),
        END => Some(end(arguments)),
        KNOCK => Some(knock::run(arguments)),
        INIT => Some(init::run()),
        _ => None,
    }
}

fn launch() -> io::Result<ExitCode> {
    close_inherited()?;
    let mut text = Vec::new();
    io::stdin().read_to_end(&mut text)?;
    let message: Message = serde_json::from_slice(&text)?;
    let confined = || match &message.isolation {
        Isolation::None => direct::end_with(message.parent),
        Isolation::Sandbox(sandbox) if sandbox.level == Level::Landlock => confined(message.parent, sandbox),
        // It would begin with less than what it was promised.
        Isolation::Sandbox(_) => Err(io::Error::other("a sandbox with namespaces holds all steps of a job and is not made for one")),
    };
    confined()?;
    Err(direct::become_program(&message.launch))
}

/// Everything of a sandbox that needs no namespaces.
fn confined(parent: i32, sandbox: &Sandbox) -> io::Result<()> {
    confine::resources(&sandbox.limits)?;
    confine::give_up_rights(sandbox.user)?;
    direct::end_with(parent)?;
    confine::restrict(sandbox)
}

/// Closes what whoever started the server left open: it would be open in the engine too.
fn close_inherited() -> io::Result<()> {
    let open = fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<RawFd>().ok());
    for descriptor in open.collect::<Vec<_>>().into_iter().filter(|descriptor| *descriptor > STANDARD_ERROR) {
        // The one that the list was read through is closed already.
        let _ = close(descriptor);
    }
    Ok(())
}

/// As that user, since only its own processes can then be meant.
fn end(arguments: &mut dyn Iterator<Item = OsString>) -> io::Result<ExitCode> {
    let user = arguments.next().and_then(|user| user.to_str()?.parse().ok()).ok_or(io::ErrorKind::InvalidInput)?;
    confine::give_up_rights(Some(user))?;
    // This process is spared. Whoever is being made while the others are ended is met in the next round.
    for _ in 0..MAX_END_ROUNDS {
        match kill(Pid::from_raw(-1), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
        if !processes::any_of(user)? {
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(END_PAUSE);
    }
    Err(io::Error::other("processes of the run do not end"))
}
