//! Where everything of a job is.

use std::path::{Path, PathBuf};

use tfe_core::{id::Id, job::Job, run::Phase, run::Run};

use crate::config::RunnerConfig;

/// The two directories of a job: the volatile one of its run, and its own durable one.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// In clear, kept from plan to apply.
    pub(crate) work: PathBuf,
    /// Sealed, kept until everything in it is acknowledged.
    pub(crate) spool: PathBuf,
}

impl Paths {
    pub(crate) fn new(config: &RunnerConfig, job: &Id<Job>, run: &Id<Run>) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Self { work: absolute(config.work_root.join(run.as_str())), spool: absolute(config.spool_root.join(job.as_str())) }
    }

    /// The unpacked configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.work.join("config")
    }

    /// `TF_DATA_DIR`.
    pub(crate) fn data(&self) -> PathBuf {
        self.work.join("data")
    }

    /// The local backend's directory of workspaces.
    pub(crate) fn states(&self) -> PathBuf {
        self.work.join("state")
    }

    /// The state file: the local backend has one directory for each workspace.
    pub(crate) fn state(&self, workspace: &str) -> PathBuf {
        self.states().join(workspace).join("terraform.tfstate")
    }

    /// Values of input variables.
    pub(crate) fn variables(&self) -> PathBuf {
        self.work.join("run.tfvars")
    }

    /// The CLI configuration of the run.
    pub(crate) fn cli_config(&self) -> PathBuf {
        self.work.join("cli.tfrc")
    }

    /// The file that a step leaves.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        self.work.join("out").join(name)
    }

    /// The log of a phase.
    pub(crate) fn log(&self, phase: Phase) -> PathBuf {
        self.output(if phase == Phase::Plan { "plan.log" } else { "apply.log" })
    }

    /// Says that the directory holds a finished plan, so that an apply can begin at once.
    pub(crate) fn planned(&self) -> PathBuf {
        self.output("planned")
    }

    /// The directories that must exist.
    pub(crate) fn directories(&self) -> [PathBuf; 6] {
        [self.configuration(), self.data(), self.states(), self.work.join("out"), self.work.join("home"), self.work.join("tmp")]
    }
}

/// The plan's files in the `out` directory.
pub(crate) mod names {
    pub(crate) const PLAN: &str = "tfplan";
    pub(crate) const PLAN_JSON: &str = "plan.json";
    pub(crate) const SCHEMAS: &str = "schemas.json";
    pub(crate) const INIT_LOG: &str = "init.log";
    pub(crate) const GENERATED: &str = "generated.tf";
}

/// The dependency lock file of a configuration.
pub(crate) fn lock_file(directory: &Path) -> PathBuf {
    directory.join(".terraform.lock.hcl")
}
