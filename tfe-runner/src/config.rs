//! What the operator of a runner chooses.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use tfe_core::{
    run::Phase,
    secret::{Secret, exposed},
};

use crate::{isolation::IsolationConfig, supervisor::timeout::Timeout, tools::ToolSettings};

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
    /// Where verified provider plugins are kept for all runs, durable; none to let each run fetch its own. Only sandboxed
    /// runs use it.
    pub plugins: Option<PathBuf>,
    /// How many jobs at once.
    pub concurrency: usize,
    /// How long plans and applies may take.
    pub timeouts: Timeouts,
    /// How runs are kept apart from this machine and from each other.
    pub isolation: IsolationConfig,
    /// What becomes of jobs when this runner dies; none where it is restarted together with the whole control plane, until which nobody
    /// gives its jobs up.
    pub courier: Option<Courier>,
}

/// How long the phases of a run may take, all steps of the engine together. A restart of the runner changes nothing about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A plan, until it is interrupted.
    pub plan: Duration,
    /// An apply, until it is interrupted.
    pub apply: Duration,
    /// An engine that was interrupted, since it took too long or somebody asked for it, until it is killed: it finishes what it has begun
    /// and saves its state.
    pub grace: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        // The first two are those of Terraform Enterprise's general settings, plan-timeout and apply-timeout.
        Self { plan: Duration::from_hours(2), apply: Duration::from_hours(24), grace: Duration::from_mins(10) }
    }
}

impl Timeouts {
    pub(crate) fn of(&self, phase: Phase) -> Timeout {
        let limit = if phase == Phase::Plan { self.plan } else { self.apply };
        Timeout { phase, limit, grace: self.grace }
    }
}

/// A program that brings home a job whose runner has died: it makes a runner like that one and calls
/// [`Runner::bring_home`](crate::Runner::bring_home).
#[derive(Debug, Clone)]
pub struct Courier {
    /// The command.
    pub command: Vec<OsString>,
    /// What it reads from its standard input, besides the job's id: how to reach the control plane. None where there is no way: an apply is
    /// interrupted all the same, and its state waits for the runner.
    pub letter: Option<Letter>,
    /// How long a runner may be gone until it is given up: a restart takes less.
    pub patience: Duration,
}

/// What a courier needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter {
    /// The runner's name.
    pub name: String,
    /// Where runs work.
    pub work_root: PathBuf,
    /// Where the marks of jobs are.
    pub spool_root: PathBuf,
    /// The servers.
    pub servers: Vec<String>,
    /// The runner's token.
    #[serde(with = "exposed")]
    pub token: Secret,
    /// PEM certificates that are trusted besides the system's.
    pub authorities: Vec<String>,
    /// The job; empty until it is sent.
    #[serde(default)]
    pub job: String,
}
