//! The first process of a sandbox. When it ends, the kernel ends everything in there.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    process::ExitCode,
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        stat::{Mode, umask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, sethostname},
};

use super::{
    Isolation, Sandbox, confine, direct,
    enter::{self, Ended},
    launcher::Message,
    root,
};

/// The name of the machine, as runs see it.
const HOST_NAME: &str = "run";

/// Builds the sandbox, starts the engine in it, and stays until it ends.
pub(super) fn run() -> io::Result<ExitCode> {
    // The launcher holds signals back until it hears of the engine; the engine must not inherit that.
    SigSet::all().thread_unblock()?;
    let mut line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut text = Vec::new();
    line.read_to_end(&mut text)?;
    let message: Message = serde_json::from_slice(&text)?;
    let Isolation::Sandbox(sandbox) = &message.isolation else { return Err(io::ErrorKind::InvalidInput.into()) };
    build(sandbox)?;
    let engine = direct::command(&message.launch).spawn();
    let engine = engine.map_err(|error| io::Error::other(format!("{} cannot be started: {error}", message.launch.program.display())))?;
    let signals = enter::block()?;
    // From here on the launcher passes interrupts on; if it is gone already, this is the end.
    line.write_all(&[0])?;
    let ended = wait(&signals, Pid::from_raw(i32::try_from(engine.id()).map_err(io::Error::other)?))?;
    line.write_all(&serde_json::to_vec(&ended)?)?;
    Ok(ExitCode::SUCCESS)
}

fn build(sandbox: &Sandbox) -> io::Result<()> {
    umask(Mode::from_bits_truncate(0o022));
    sethostname(HOST_NAME)?;
    root::build(sandbox)?;
    confine::resources(&sandbox.limits)?;
    confine::give_up_rights(sandbox.user)?;
    // The change of the user has cleared it. Nothing survives the launcher.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The engine has the same user and must not look into this process.
    prctl::set_dumpable(false)?;
    confine::restrict(sandbox)
}

/// Passes signals on and collects the dead, until the engine is among them.
fn wait(signals: &SigSet, engine: Pid) -> io::Result<Ended> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == engine => return Ok(Ended::Code(code)),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == engine => return Ok(Ended::Signal(signal as i32)),
            Ok(WaitStatus::StillAlive) => {
                let signal = signals.wait()?;
                if enter::is_forwarded(signal) {
                    let _ = kill(engine, signal);
                }
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
