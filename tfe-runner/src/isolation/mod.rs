//! How the programs of a run are kept apart from the server, from other runs, and from the machine.
//!
//! A configuration is a program from a stranger: providers, provisioners and `external` data run whatever it says, at
//! plan time too. So no step of an engine starts next to the server's files, processes and credentials.
//!
//! ```text
//! supervisor ──► launcher ──► init (pid 1 of the sandbox) ──► engine, once for each step
//!      │       (by a word)      builds the root, gives up       one user id of its own
//!      │                        every right, reaps
//!      └──── the line: what to start, with its files ───┘
//! ```
//!
//! What travels is a description, [`Isolation`], because a supervisor is a process of its own. In it the description
//! chooses an [`Executor`]. There are two: the sandbox, and none, which somebody must have chosen in words. One that
//! starts containers or pods would run the whole supervisor inside of them, as their first process, with the spool
//! directory on a volume, and is a third variant of [`Isolation`]; it is not there.
//!
//! bubblewrap is not used: it would need to be installed, and offers nothing that is not done here.

mod config;
mod confine;
mod direct;
mod enter;
mod filter;
mod init;
mod knock;
mod landlocked;
pub(crate) mod launcher;
mod lease;
mod line;
mod network;
pub(crate) mod of_run;
mod probe;
mod root;
mod sandbox;
mod seccomp;
mod separate_steps;
mod shared_sandbox;

use std::{ffi::OsString, fmt::Debug, fs::File, io, path::PathBuf};

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tfe_core::secret::{Secret, exposed};

pub use config::{IsolationConfig, Limits, Mode};
pub use filter::{put as put_filter, remove as remove_filter};
pub use network::{AddressRange, Network, NetworkLevel, NotARange};
pub use probe::{Guarantees, MemoryBound, Unavailable, probe, probe_at};
pub use sandbox::{Level, Sandbox};

/// How the steps of one run are isolated.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Not at all: the engine has the rights of the supervisor.
    #[default]
    None,
    /// In a sandbox.
    Sandbox(Sandbox),
}

/// Makes the place where the steps of a job run.
pub trait Executor: Debug + Send + Sync {
    /// Its name, for logs.
    fn kind(&self) -> &'static str;

    /// Makes the place for one job. If none can be made, that is an error, or the first step fails; then the reason is in
    /// `errors`.
    fn open(&self, errors: File) -> io::Result<Box<dyn Execution>>;
}

/// Where the steps of one job run.
///
/// # Contract
/// When the process that opened it ends, or drops it, what runs is interrupted. What a step leaves behind does not
/// outlive the last of the steps that ran at the same time by more than [`clean`](Self::clean).
pub trait Execution: Debug + Send {
    /// Starts a program, in a process group of its own. Output goes to files and never to pipes, since an engine dies of
    /// a pipe whose reader died. Its end is told from another thread; a program that cannot be started leaves the reason
    /// in `errors` and ends with a code that is not 0.
    fn start(&mut self, launch: &Launch, output: File, errors: File, on_end: OnEnd) -> io::Result<()>;

    /// Interrupts each engine that runs, and it alone; to be asked for once, since two make an engine give up its state.
    fn interrupt(&mut self);

    /// Ends all that runs, at once.
    fn kill(&mut self);

    /// Ends what steps left behind. None of them runs.
    fn clean(&mut self) -> io::Result<()>;

    /// The leaders of process groups whose end is the end of all that runs, for who comes after a supervisor that died.
    fn processes(&self) -> Vec<Pid>;

    /// Waits until all of it has ended, so that what it used is known. No step runs.
    fn close(self: Box<Self>);
}

/// Told how a program ended.
pub type OnEnd = Box<dyn FnOnce(Ended) + Send>;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself, with this exit code.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
}

/// A program to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<Setting>,
    /// Where it starts.
    pub directory: PathBuf,
}

/// An environment variable.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(with = "exposed")]
    pub value: Secret,
}

impl Isolation {
    /// What starts steps so; `supervisor` is the command that starts a supervisor, whose binary is the launcher too.
    pub fn executor(&self, supervisor: &[OsString]) -> Box<dyn Executor> {
        match self {
            Self::None => Box::new(direct::Direct { supervisor: supervisor.to_vec() }),
            Self::Sandbox(sandbox) => Box::new(sandbox::Sandboxed { sandbox: sandbox.clone(), supervisor: supervisor.to_vec() }),
        }
    }
}

impl Ended {
    /// The exit code, if it ended by itself.
    pub const fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(_) => None,
        }
    }

    /// The number of the signal, if one ended it.
    pub const fn signal(self) -> Option<i32> {
        match self {
            Self::Code(_) => None,
            Self::Signal(number) => Some(number),
        }
    }
}

/// Says what was being done when something failed.
pub(crate) fn doing<T, E: std::fmt::Display>(what: impl std::fmt::Display, result: Result<T, E>) -> io::Result<T> {
    result.map_err(|error| io::Error::other(format!("{what}: {error}")))
}
