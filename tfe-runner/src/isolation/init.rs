//! The first process of a sandbox. It starts the steps of a job one after the other, as the supervisor orders them over
//! the [line](super::line). When it ends, the kernel ends everything in there.
//!
//! The supervisor's end, like everything that it says, comes over the line: what runs then is interrupted, which lets an
//! engine save its state.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::ExitCode,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal, kill, killpg},
        signalfd::{SfdFlags, SignalFd},
        stat::{Mode, umask},
    },
    unistd::{Pid, sethostname},
};
use rustix::process::{WaitOptions, wait};
use serde::{Deserialize, Serialize};

use super::{Ended, Launch, Sandbox, confine, direct, enter::Enclosure, line::Line, root};

/// The name of the machine, as runs see it.
const HOST_NAME: &str = "run";
/// Every process but the one that asks and the first of its namespace, in kill(2).
const ALL: Pid = Pid::from_raw(-1);

/// What the first process is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// To start a program; its output and its errors come along.
    Start { number: u64, launch: Launch },
    /// To interrupt what runs, unless it was interrupted.
    Interrupt,
}

/// What it tells: how a program ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) number: u64,
    pub(super) ended: Ended,
}

/// Builds the sandbox, and stays in it until the supervisor needs it no more.
pub(super) fn run() -> io::Result<ExitCode> {
    // The launcher holds signals back; what is started here must not inherit that.
    SigSet::all().thread_unblock()?;
    let line = Line::of_standard_input()?;
    let Enclosure { sandbox, .. } = line.receive()?.ok_or(io::ErrorKind::UnexpectedEof)?;
    build(&sandbox)?;
    Init::new(line)?.serve()?;
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
    // Engines have the same user and must not look into this process.
    prctl::set_dumpable(false)?;
    confine::restrict(sandbox)
}

/// A program at work.
struct Engine {
    number: u64,
    is_interrupted: bool,
}

struct Init {
    line: Line,
    /// Whether the supervisor may say more.
    is_open: bool,
    engines: BTreeMap<Pid, Engine>,
    /// The end of a child, which waits until somebody asks.
    child: SigSet,
    signals: SignalFd,
}

impl Init {
    fn new(line: Line) -> io::Result<Self> {
        let child: SigSet = [Signal::SIGCHLD].into_iter().collect();
        child.thread_block()?;
        let signals = SignalFd::with_flags(&child, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { line, is_open: true, engines: BTreeMap::new(), child, signals })
    }

    fn serve(mut self) -> io::Result<()> {
        loop {
            self.collect()?;
            if !self.is_open && self.engines.is_empty() {
                return Ok(());
            }
            if self.is_spoken_to()? {
                self.obey()?;
            }
        }
    }

    /// Waits for a word of the supervisor or the end of a child, and says which: a word first.
    fn is_spoken_to(&self) -> io::Result<bool> {
        let mut awaited = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        awaited.extend(self.is_open.then(|| PollFd::new(self.line.as_fd(), PollFlags::POLLIN)));
        match poll(&mut awaited, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(false),
            polled => polled?,
        };
        let is_spoken_to = awaited.get(1).is_some_and(|line| line.any().unwrap_or_default());
        while self.signals.read_signal()?.is_some() {}
        Ok(is_spoken_to)
    }

    fn obey(&mut self) -> io::Result<()> {
        match self.line.receive_with() {
            Ok(Some((Order::Start { number, launch }, files))) => return self.start(number, &launch, files),
            Ok(Some((Order::Interrupt, _))) => {}
            // A supervisor that was killed may have said half of something.
            Ok(None) | Err(_) => self.is_open = false,
        }
        self.interrupt();
        Ok(())
    }

    fn start(&mut self, number: u64, launch: &Launch, files: Vec<File>) -> io::Result<()> {
        // A child begins with the signals that are held back here. What ends meanwhile is collected all the same.
        self.child.thread_unblock()?;
        let started = spawn(launch, files);
        self.child.thread_block()?;
        match started {
            Some(pid) => drop(self.engines.insert(pid, Engine { number, is_interrupted: false })),
            None => self.tell(&Report { number, ended: Ended::Code(1) }),
        }
        Ok(())
    }

    /// No engine is interrupted twice, since that makes it give up its state.
    fn interrupt(&mut self) {
        for (pid, engine) in self.engines.iter_mut().filter(|(_, engine)| !engine.is_interrupted) {
            engine.is_interrupted = true;
            // One that has just ended is collected next.
            let _ = kill(*pid, Signal::SIGINT);
        }
    }

    /// Collects the dead, and tells of engines among them. What the last engine left behind is ended before that is told.
    fn collect(&mut self) -> io::Result<()> {
        loop {
            // A program may end by a signal without a name, which only the plain number tells.
            let (pid, status) = match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => (Pid::from_raw(pid.as_raw_nonzero().get()), status),
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let ended = status.exit_status().map(Ended::Code).or(status.terminating_signal().map(Ended::Signal));
            let Some(ended) = ended else { continue };
            let Some(engine) = self.engines.remove(&pid) else { continue };
            if self.engines.is_empty() {
                end_all()?;
            } else {
                let _ = killpg(pid, Signal::SIGKILL);
            }
            self.tell(&Report { number: engine.number, ended });
        }
    }

    /// Nothing that fails here may end this process while an engine still has a state to save.
    fn tell(&mut self, report: &Report) {
        if self.line.send(report).is_err() {
            self.is_open = false;
            self.interrupt();
        }
    }
}

/// Starts a program in a group of its own. None if it cannot be, with the reason in its errors.
fn spawn(launch: &Launch, files: Vec<File>) -> Option<Pid> {
    let [output, mut errors] = <[File; 2]>::try_from(files).ok()?;
    let mut command = direct::command(launch);
    let started = errors.try_clone().and_then(|copy| command.stdout(output).stderr(copy).process_group(0).spawn());
    match started {
        Ok(engine) => i32::try_from(engine.id()).ok().map(Pid::from_raw),
        Err(error) => {
            let _ = writeln!(errors, "Error: {} cannot be started: {error}", launch.program.display());
            None
        }
    }
}

/// Ends everything in the sandbox but this process, and waits for it.
fn end_all() -> io::Result<()> {
    loop {
        match kill(ALL, Signal::SIGKILL) {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        match wait(WaitOptions::empty()) {
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
