//! The launcher: becomes the engine after it has arranged what only a child can arrange for itself.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    process::Command,
};

use nix::{
    sys::{prctl, signal::Signal},
    unistd::getppid,
};

/// The argument that chooses the launcher.
pub(crate) const WORD: &str = "launch";

/// The command that runs a program through the launcher of this supervisor.
pub(crate) fn command(supervisor: &[OsString], program: &OsStr, arguments: &[OsString]) -> Command {
    let (own, words) = supervisor.split_first().map_or((OsStr::new(""), &[][..]), |(own, words)| (own.as_os_str(), words));
    let mut command = Command::new(own);
    command.args(words).arg(WORD).arg(std::process::id().to_string()).arg(program).args(arguments);
    command
}

/// Asks the kernel for an interrupt when the supervisor dies, and becomes the program.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let parent = arguments.next().and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    let program = arguments.next().ok_or(io::ErrorKind::InvalidInput)?;
    prctl::set_pdeathsig(Signal::SIGINT)?;
    // The supervisor may have died before the kernel was asked.
    if Some(getppid().as_raw()) != parent {
        return Err(io::Error::other("the supervisor is gone"));
    }
    Err(Command::new(program).args(arguments).exec())
}
