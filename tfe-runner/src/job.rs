//! What a runner is told about a job, and what it reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tfe_core::{
    engine_version::Build,
    id::Id,
    job::{Job, Question},
    plan::Summary,
    run::{Phase, Run},
    secret::{Secret, exposed},
};

/// A claimed or adopted job with everything its phase needs. It holds secrets: it travels in memory or over an
/// encrypted connection, reaches the supervisor over a pipe, and is never written to a disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// The job.
    pub job: Id<Job>,
    /// Its run.
    pub run: Id<Run>,
    /// Plan or apply.
    pub phase: Phase,
    /// Goes with every call about this job; a call with an older one is refused.
    pub fencing_token: u64,
    /// Proves that a call about this job comes from its runner.
    #[serde(with = "exposed")]
    pub run_token: Secret,
    /// Base64 of the 32 byte key under which state is spooled on the runner's disk.
    #[serde(with = "exposed")]
    pub spool_key: Secret,
    /// What to do.
    pub spec: Spec,
}

/// What to run and with what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// `terraform` or `tofu`.
    pub engine: EngineKind,
    /// The exact version or the constraint that the run asks for; `latest` is the newest installed.
    pub version: String,
    /// The workspace's name, which the configuration sees as `terraform.workspace`.
    pub workspace: String,
    /// The directory in the configuration where the engine starts, relative, may be empty.
    pub working_directory: String,
    /// Environment variables for the engine: the workspace's and the run's own.
    pub environment: Vec<Variable>,
    /// Values of input variables, in the order in which they are written; names are unique.
    pub variables: Vec<Variable>,
    /// How to plan.
    pub plan: PlanOptions,
    /// Whether the log is JSON lines (for the `cloud` block) or text (for the `remote` backend).
    pub structured_log: bool,
    /// Where the version can be fetched, if an administrator registered it; it is an exact one then.
    #[serde(default)]
    pub builds: Vec<Build>,
    /// What whoever started the run should know of the version; a line in the plan's log.
    #[serde(default)]
    pub warning: Option<String>,
}

/// Which of the two equal engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// `terraform`
    Terraform,
    /// `tofu`
    Tofu,
}

/// A value for the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(with = "exposed")]
    pub value: Secret,
    /// Whether the value is an HCL expression rather than a string.
    pub hcl: bool,
    /// Whether the value must be masked in logs.
    pub sensitive: bool,
}

/// The options of a plan, as the CLI knows them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PlanOptions {
    /// Plan the end of everything.
    pub destroy: bool,
    /// Whether to read the real objects first.
    pub refresh: bool,
    /// Only read the real objects.
    pub refresh_only: bool,
    /// `-target` addresses.
    pub targets: Vec<String>,
    /// `-replace` addresses.
    pub replace: Vec<String>,
    /// Whether configuration may be generated for import blocks.
    pub generate_configuration: bool,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// The plan is made; its artifacts are uploaded.
    Planned {
        /// Counts of changes.
        summary: Summary,
    },
    /// Everything was applied; the final state is uploaded.
    Applied {
        /// Counts of changes that happened.
        summary: Summary,
    },
    /// The engine failed or could not be started; for an apply, the state that was reached is uploaded.
    Failed {
        /// What a person should know and do; without secrets.
        message: String,
        /// Counts of changes that happened before the failure.
        summary: Summary,
    },
    /// The engine ended because it was asked to; for an apply, the state that was reached is uploaded.
    Canceled {
        /// Counts of changes that happened before the end.
        summary: Summary,
    },
}

/// The files a plan leaves for later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// The engine's own plan file, input of the apply.
    PlanFile,
    /// The dependency lock file as it was after `init`, input of the apply on another machine.
    LockFile,
    /// `show -json` of the plan.
    PlanJson,
    /// What the CLI renders: the plan without sensitive values, with the schemas of its providers.
    PlanRedacted,
    /// `providers schema -json`.
    ProviderSchemas,
    /// Configuration generated for import blocks.
    GeneratedConfiguration,
}

/// What the control plane wants of a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Directive {
    /// Go on.
    Continue,
    /// Ask the engine to stop and save what it has (one interrupt).
    Interrupt,
    /// Stop it now; what was saved so far counts.
    Kill,
}

/// What a runner tells about itself when it asks for work.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunnerInfo {
    /// Its name, unique among runners, stable over restarts.
    pub name: String,
    /// The versions it has, for the run's error message when another one is wanted.
    pub tools: BTreeMap<String, Vec<String>>,
    /// Its release.
    #[serde(default)]
    pub version: String,
    /// How many jobs it does at once.
    #[serde(default)]
    pub concurrency: u64,
    /// How many it does now.
    #[serde(default)]
    pub working: u64,
    /// The jobs that it has, also those of an earlier process that it will take up. One that it was given and that is not
    /// among them has never reached it. None from runners that do not say.
    #[serde(default)]
    pub holds: Option<Vec<Id<Job>>>,
    /// Which question for work this is. None from runners that do not number them.
    #[serde(default)]
    pub question: Option<Question>,
}

impl Outcome {
    /// Counts of changes.
    pub const fn summary(&self) -> &Summary {
        match self {
            Self::Planned { summary } | Self::Applied { summary } | Self::Failed { summary, .. } | Self::Canceled { summary } => summary,
        }
    }
}

impl ArtifactKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::PlanFile, Self::LockFile, Self::PlanJson, Self::PlanRedacted, Self::ProviderSchemas, Self::GeneratedConfiguration];

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name under which a run keeps it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlanFile => "plan_file",
            Self::LockFile => "lock_file",
            Self::PlanJson => "plan_json",
            Self::PlanRedacted => "plan_redacted",
            Self::ProviderSchemas => "provider_schemas",
            Self::GeneratedConfiguration => "generated_configuration",
        }
    }
}

impl EngineKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Terraform, Self::Tofu];

    /// The name of the program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Terraform => "terraform",
            Self::Tofu => "tofu",
        }
    }

    /// The name for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Terraform => "Terraform",
            Self::Tofu => "OpenTofu",
        }
    }
}
