//! No isolation, for those who choose it in words: the engine is a plain child.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use nix::{
    sys::{prctl, signal::Signal},
    unistd::getppid,
};

use super::{Execution, Executor, Isolation, Launch, separate_steps::SeparateSteps};

/// Starts engines with the rights of the supervisor.
#[derive(Debug)]
pub(super) struct Direct {
    pub(super) supervisor: Vec<OsString>,
}

impl Executor for Direct {
    fn kind(&self) -> &'static str {
        "none"
    }

    fn open(&self, _errors: File) -> io::Result<Box<dyn Execution>> {
        Ok(Box::new(SeparateSteps::new(Isolation::None, &self.supervisor)))
    }
}

/// Asks the kernel for an interrupt when the parent dies.
pub(super) fn end_with(parent: i32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGINT)?;
    // It may have died before the kernel was asked.
    if getppid().as_raw() == parent { Ok(()) } else { Err(io::Error::other("the supervisor is gone")) }
}

/// The program, with nothing of this process but its output.
pub(super) fn command(launch: &Launch) -> Command {
    let mut command = Command::new(&launch.program);
    command.args(&launch.arguments).current_dir(&launch.directory).env_clear().stdin(Stdio::null());
    command.envs(launch.environment.iter().map(|setting| (&setting.name, setting.value.expose())));
    command
}

/// Becomes the program.
pub(super) fn become_program(launch: &Launch) -> io::Error {
    let error = command(launch).exec();
    io::Error::other(format!("{} cannot be started: {error}", launch.program.display()))
}
