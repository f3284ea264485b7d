//! What the operator of a runner chooses.

use std::{ffi::OsString, path::PathBuf};

use crate::isolation::IsolationConfig;

/// How a runner works.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// Its name, unique among runners and the same after a restart: by it a runner takes up its jobs again.
    pub name: String,
    /// Where runs work, in clear, until they end. Best in memory.
    pub work_root: PathBuf,
    /// Where state snapshots and the marks of running jobs are, sealed and durable.
    pub spool_root: PathBuf,
    /// The command that starts a supervisor, such as `tfe-server supervise`.
    pub supervisor: Vec<OsString>,
    /// Where engines are, besides `PATH`.
    pub tool_paths: Vec<PathBuf>,
    /// The text of a CLI configuration for runs, such as one with a provider mirror.
    pub cli_config: Option<String>,
    /// How many jobs at once.
    pub concurrency: usize,
    /// How runs are kept apart from this machine and from each other.
    pub isolation: IsolationConfig,
}
