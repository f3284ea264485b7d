//! What a supervisor is told, over its standard input, and what it leaves behind.

use std::{ffi::OsString, path::PathBuf};

use serde::{Deserialize, Serialize};
use tfe_core::secret::{Secret, exposed};

use super::{
    timeout::{TimedOut, Timeout},
    watch::{Excess, Usage},
};
use crate::{
    isolation::{Isolation, Limits, Setting},
    processes::Process,
};

/// The whole task. It holds secrets and is never written to a disk.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Instructions {
    /// The job's durable directory: lock, requests, snapshots, marks.
    pub(crate) spool: PathBuf,
    /// The command of the supervisor itself, to start engines through its launcher.
    pub(crate) supervisor: Vec<OsString>,
    /// How engines are kept apart.
    pub(crate) isolation: Isolation,
    /// What they may use.
    pub(crate) limits: Limits,
    /// How long all stages may take together; none for as long as they like.
    #[serde(default)]
    pub(crate) timeout: Option<Timeout>,
    /// Where the engine starts.
    pub(crate) directory: PathBuf,
    /// The engine's whole environment.
    pub(crate) environment: Vec<Setting>,
    /// Done one after the other; the steps of a stage at the same time. The first failure ends it all.
    pub(crate) stages: Vec<Vec<Step>>,
    /// The run's directory, which the run itself cannot replace.
    pub(crate) work: PathBuf,
    /// `TF_DATA_DIR`, where `init` leaves what backend it found.
    pub(crate) data: PathBuf,
    /// Where the state must be kept.
    pub(crate) state: PathBuf,
    /// The same as the configuration says it, relative to where the engine starts.
    pub(crate) backend_path: PathBuf,
    /// Whether the state changes and must be watched.
    pub(crate) is_apply: bool,
    /// Base64 of the key for snapshots.
    #[serde(with = "exposed")]
    pub(crate) spool_key: Secret,
    /// What snapshots are sealed for: the job's id.
    pub(crate) context: String,
    /// What to do when the runner is gone; none to go on as if it were there.
    #[serde(default)]
    pub(crate) orphanage: Option<Orphanage>,
}

/// How a job comes home whose runner is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Orphanage {
    /// The file that the runner has locked while it lives.
    pub(crate) runner_lock: PathBuf,
    /// How long the runner may be gone, in milliseconds.
    pub(crate) patience_millis: u64,
    /// The command of the courier; empty for none.
    pub(crate) courier: Vec<OsString>,
    /// What the courier reads from its standard input.
    #[serde(with = "exposed")]
    pub(crate) letter: Secret,
}

/// One run of the engine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) name: StepName,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// The file for its output: a file and never a pipe, since an engine dies of a pipe whose reader died.
    pub(crate) output: PathBuf,
    /// The file for its errors, if not the same.
    pub(crate) errors: PathBuf,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StepName {
    Init,
    Plan,
    ShowPlan,
    Schemas,
    Apply,
}

/// What became of a step.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepEnd {
    pub(crate) name: StepName,
    /// The exit code, if it ended by itself.
    pub(crate) code: Option<i32>,
    /// The signal, if it was killed.
    pub(crate) signal: Option<i32>,
}

/// The mark of the end, in `done.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) steps: Vec<StepEnd>,
    /// Whether the end was asked for.
    pub(crate) stopped: bool,
    /// Why a step could not even be started.
    pub(crate) error: Option<String>,
    /// Whether it was stopped since the runner was gone.
    #[serde(default)]
    pub(crate) orphaned: bool,
    /// What there was too much of.
    #[serde(default)]
    pub(crate) excess: Option<Excess>,
    /// How it took too long.
    #[serde(default)]
    pub(crate) timed_out: Option<TimedOut>,
    /// What was used.
    #[serde(default)]
    pub(crate) usage: Usage,
}

/// The processes at work, in `engine.json`, for whoever must clean up after a supervisor that died.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Engines {
    pub(crate) processes: Vec<Engine>,
}

/// A process, told from later ones with the same number by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Engine {
    pub(crate) pid: i32,
    pub(crate) started: u64,
}

impl StepEnd {
    /// Whether the next stage may begin. A plan ends with 2 when there are changes.
    pub(crate) fn is_good(&self) -> bool {
        self.code == Some(0) || (self.name == StepName::Plan && self.code == Some(2))
    }
}

impl Engine {
    /// The running process of that number.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Process::of(pid).map(|Process { started, .. }| Self { pid, started })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}
