//! How the programs of a run are kept apart from the server, from other runs, and from the machine.
//!
//! A configuration is a program from a stranger: providers, provisioners and `external` data run whatever it says, at
//! plan time too. So no step of an engine starts next to the server's files, processes and credentials.
//!
//! ```text
//! supervisor ──Message over stdin──► launcher ──► init (pid 1 of the sandbox) ──► engine
//!  (chosen by a word)                forwards      builds the root, gives up       one user id of
//!                                    interrupts    every right, reaps, forwards    its own
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
mod network;
pub(crate) mod of_run;
mod probe;
mod root;
mod sandbox;
mod seccomp;

use std::{ffi::OsString, fmt::Debug, fs::File, io, path::PathBuf, process::Child};

use serde::{Deserialize, Serialize};
use tfe_core::secret::{Secret, exposed};

pub use config::{IsolationConfig, Limits, Mode};
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

/// Starts the steps of a run.
///
/// # Contract
/// The child of [`start`](Self::start) leads a process group of its own. An interrupt sent to it reaches the engine,
/// and the engine alone; `SIGKILL` sent to its group ends the engine and, if the executor can, all that it started. It
/// ends when the engine ends, with the engine's exit code or by the engine's signal. When the calling thread ends, the
/// engine is interrupted. A step that cannot be started leaves the reason in `errors` and a child that fails.
pub trait Executor: Debug + Send + Sync {
    /// Its name, for logs.
    fn kind(&self) -> &'static str;

    /// Arranges what all steps of the run need, before the first.
    fn begin(&self) -> io::Result<()> {
        Ok(())
    }

    /// Starts a program. Output goes to files and never to pipes, since an engine dies of a pipe whose reader died.
    fn start(&self, launch: &Launch, output: File, errors: File) -> io::Result<Child>;

    /// Ends what steps left behind. None of them runs.
    fn clean(&self) -> io::Result<()> {
        Ok(())
    }

    /// Takes back what was arranged, after the last step.
    fn end(&self) -> io::Result<()> {
        Ok(())
    }
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

/// Says what was being done when something failed.
pub(crate) fn doing<T, E: std::fmt::Display>(what: impl std::fmt::Display, result: Result<T, E>) -> io::Result<T> {
    result.map_err(|error| io::Error::other(format!("{what}: {error}")))
}
