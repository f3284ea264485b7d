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

    /// A file that the engine itself makes.
    pub(crate) fn made(&self, name: &str) -> PathBuf {
        self.work.join("made").join(name)
    }

    /// A file that the supervisor makes for the engine's output. Its directory is out of the run's reach.
    pub(crate) fn output(&self, name: &str) -> PathBuf {
        Self::output_in(&self.work, name)
    }

    /// The same in the directory of any run.
    pub(crate) fn output_in(work: &Path, name: &str) -> PathBuf {
        work.join("out").join(name)
    }

    /// A mirror of the providers that the run is given. It can read that and not change it.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.work.join("plugins")
    }

    /// `HOME`.
    pub(crate) fn home(&self) -> PathBuf {
        self.work.join("home")
    }

    /// `TMPDIR`.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.work.join("tmp")
    }

    /// The log of a phase.
    pub(crate) fn log(&self, phase: Phase) -> PathBuf {
        self.output(if phase == Phase::Plan { "plan.log" } else { "apply.log" })
    }

    /// Says that the directory holds a finished plan, so that an apply can begin at once.
    pub(crate) fn planned(&self) -> PathBuf {
        self.output("planned")
    }

    /// The directories that the run changes.
    pub(crate) fn writable(&self) -> [PathBuf; 6] {
        [self.configuration(), self.data(), self.states(), self.work.join("made"), self.home(), self.temporary()]
    }

    /// The directories that must exist.
    pub(crate) fn directories(&self) -> impl Iterator<Item = PathBuf> {
        [self.work.join("out")].into_iter().chain(self.writable())
    }
}

/// The plan's files.
pub(crate) mod names {
    pub(crate) const PLAN: &str = "tfplan";
    pub(crate) const PLAN_JSON: &str = "plan.json";
    pub(crate) const SCHEMAS: &str = "schemas.json";
    pub(crate) const PLUGINS: &str = "plugins.json";
    pub(crate) const INIT_LOG: &str = "init.log";
    pub(crate) const GENERATED: &str = "generated.tf";
}

/// The path of something below `work` from a directory below `work`, without any name of `work` in it.
pub(crate) fn relative(work: &Path, directory: &Path, target: &Path) -> Option<PathBuf> {
    let depth = directory.strip_prefix(work).ok()?.components().count();
    let up: PathBuf = std::iter::repeat_n("..", depth).collect();
    Some(up.join(target.strip_prefix(work).ok()?))
}

/// The dependency lock file of a configuration.
pub(crate) fn lock_file(directory: &Path) -> PathBuf {
    directory.join(".terraform.lock.hcl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_the_same_wherever_the_run_works() {
        let from =
            |work: &str| relative(Path::new(work), &Path::new(work).join("config/a"), &Path::new(work).join("state/ws/terraform.tfstate"));
        assert_eq!(from("/one"), Some(PathBuf::from("../../state/ws/terraform.tfstate")));
        assert_eq!(from("/one"), from("/somewhere/else"));
        assert_eq!(relative(Path::new("/one"), Path::new("/two"), Path::new("/one/state")), None);
    }
}
