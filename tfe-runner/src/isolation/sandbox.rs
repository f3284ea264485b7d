//! The sandbox: what it consists of, and the executor that starts steps in it.

use std::{ffi::OsString, fmt, fs::File, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Execution, Executor, Isolation, Limits, Network, separate_steps::SeparateSteps, shared_sandbox::SharedSandbox};

/// What a sandboxed program may reach. Everything that is not listed is out of reach, apart from programs and
/// libraries of the system, which can be read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sandbox {
    /// By what means.
    pub level: Level,
    /// The user that it becomes; none to stay what it is, for those who are not root.
    pub user: Option<u32>,
    /// Paths that can be read, besides the system's.
    pub readable: Vec<PathBuf>,
    /// Directories that can be changed. They belong to the user.
    pub writable: Vec<PathBuf>,
    /// What it may use.
    pub limits: Limits,
    /// What of the network it reaches, at the level that is to be held. At
    /// [`NetworkLevel::Addresses`](super::NetworkLevel::Addresses) it is held by the filter that somebody has
    /// [put](super::put_filter) in place for the user.
    pub network: Network,
}

/// The means of a sandbox, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// A root and processes of its own, besides all that [`Level::Landlock`] has.
    Namespaces,
    /// A user of its own, Landlock rules and a system call filter; for machines that allow no namespaces, such as
    /// most containers. Needs root.
    Landlock,
}

impl Level {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Starts engines in a sandbox.
#[derive(Debug)]
pub(super) struct Sandboxed {
    pub(super) sandbox: Sandbox,
    pub(super) supervisor: Vec<OsString>,
}

impl Executor for Sandboxed {
    fn kind(&self) -> &'static str {
        self.sandbox.level.as_str()
    }

    fn open(&self, errors: File) -> io::Result<Box<dyn Execution>> {
        Ok(match self.sandbox.level {
            Level::Namespaces => Box::new(SharedSandbox::open(&self.supervisor, &self.sandbox, errors)?),
            Level::Landlock => Box::new(SeparateSteps::new(Isolation::Sandbox(self.sandbox.clone()), &self.supervisor)),
        })
    }
}
