//! What the operator of a runner chooses.

use std::{ffi::OsString, path::PathBuf};

use crate::tools::ToolSettings;

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
    /// Where other engines are kept and come from.
    pub tools: ToolSettings,
    /// The text of a CLI configuration for runs, such as one with a provider mirror.
    pub cli_config: Option<String>,
    /// How many jobs at once.
    pub concurrency: usize,
}
