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
use serde::{Deserialize, Serialize};

use super::{Isolation, Launch, Level, Sandbox, confine, direct, enter, init, knock};
use crate::processes;

/// The last of the three descriptors that every program has.
const STANDARD_ERROR: RawFd = 2;
/// The argument that chooses the launcher.
const LAUNCH: &str = "launch";
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
pub(super) struct Message {
    /// The process whose end interrupts the engine.
    pub(super) parent: i32,
    /// The arguments that make this binary a supervisor, without its name.
    pub(super) words: Vec<OsString>,
    pub(super) isolation: Isolation,
    pub(super) launch: Launch,
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
    let message = Message { parent, words: words.to_vec(), isolation: isolation.clone(), launch: launch.clone() };
    let mut command = Command::new(program);
    command.args(words).arg(LAUNCH).current_dir("/").env_clear().stdin(Stdio::piped()).stdout(output).stderr(errors).process_group(0);
    let mut child = command.spawn()?;
    let sent = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(&serde_json::to_vec(&message)?));
    match sent {
        // Whatever made it end before it had read all is in its errors and its exit code.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(child),
    }
}

/// Does what a first argument asks for, if it is one of a launcher's.
pub(crate) fn run(word: &OsStr, arguments: &mut dyn Iterator<Item = OsString>) -> Option<io::Result<ExitCode>> {
    match word.to_str()? {
        LAUNCH => Some(launch()),
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
    match &message.isolation {
        Isolation::None => {
            direct::end_with(message.parent)?;
            Err(direct::become_program(&message.launch))
        }
        Isolation::Sandbox(sandbox) => match sandbox.level {
            Level::Namespaces => enter::run(&text, &message, sandbox),
            Level::Landlock => Err(enter::confined(&message, sandbox)),
        },
    }
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
