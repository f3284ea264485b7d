//! Runs: what was asked for, where it is, and what came of it.
//!
//! A run is one record that holds its plan and its apply, so that a step of the [machine](Run::on) is one
//! version-checked write and clients can never see half of it.

mod event;
pub mod invariants;
mod machine;
mod queue;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::{
    event::{Event, Result as PhaseResult},
    machine::{Effect, FORCE_CANCEL_DELAY_SECONDS, Step},
    queue::{admissible, is_superseded_by, ready_since},
    status::{PhaseStatus, Status},
};
use crate::{
    blob::Blob,
    configuration::ConfigurationVersion,
    id::{Id, Identified},
    organization::Organization,
    plan::Summary,
    record,
    record::{Field, Seal},
    secret::Sealed,
    time::Timestamp,
    user::User,
    workspace::Workspace,
};

/// One pass from configuration to, perhaps, changed objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: Id<Run>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The organization.
    pub organization_id: Id<Organization>,
    /// The workspace.
    pub workspace_id: Id<Workspace>,
    /// The configuration it plans.
    pub configuration_version_id: Id<ConfigurationVersion>,
    /// Its place among the runs of the workspace; later ones have higher numbers.
    pub sequence: u64,
    /// Where it is.
    pub status: Status,
    /// When it reached each status, by the status's name.
    pub reached: BTreeMap<String, Timestamp>,
    /// What was asked for.
    pub options: RunOptions,
    /// Values given with the run: the JSON text of a list of [`RunVariable`], sealed by the vault.
    pub variables: Option<Sealed>,
    /// Why, in the words of who made it.
    pub message: String,
    /// What made it, such as `tfe-api`.
    pub source: String,
    /// Who made it.
    pub created_by: Option<Id<User>>,
    /// Who confirmed it.
    pub confirmed_by: Option<Id<User>>,
    /// Whether and when it was asked to stop.
    pub cancel: Option<Cancel>,
    /// Why it failed, for people.
    pub error: Option<String>,
    /// The id under which clients see the plan.
    pub plan_id: Id<PlanPhase>,
    /// The plan.
    pub plan: PhaseRecord,
    /// The id under which clients see the apply.
    pub apply_id: Id<ApplyPhase>,
    /// The apply.
    pub apply: PhaseRecord,
    /// The files that the plan left, by the runner's name for them.
    pub artifacts: BTreeMap<String, Id<Blob>>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// Only a plan; never applied, and not part of the workspace's queue.
    pub plan_only: bool,
    /// Keep the plan for a later apply; not part of the queue until confirmed.
    pub save_plan: bool,
    /// Apply without asking.
    pub auto_apply: bool,
    /// Offer an apply although there are no changes.
    pub allow_empty_apply: bool,
    /// Plan the end of everything.
    pub is_destroy: bool,
    /// Read the real objects before planning.
    pub refresh: bool,
    /// Only read the real objects.
    pub refresh_only: bool,
    /// Limit the plan to these addresses.
    pub target_addrs: Vec<String>,
    /// Replace these addresses.
    pub replace_addrs: Vec<String>,
    /// Generate configuration for import blocks.
    pub allow_config_generation: bool,
    /// The version or constraint that this run asks of the engine.
    pub terraform_version: String,
    /// Whether the log is JSON lines.
    pub structured_log: bool,
    /// The branch that the configuration comes from, if it comes from one.
    pub branch: Option<String>,
}

/// A value given with a run; always an HCL expression, as the CLI sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunVariable {
    /// The input variable's name.
    pub key: String,
    /// The expression.
    pub value: String,
}

/// A request to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// When it was made.
    pub requested_at: Timestamp,
    /// From when on it may be forced.
    pub force_available_at: Timestamp,
    /// When it was forced.
    pub forced_at: Option<Timestamp>,
}

/// Plan or apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Find out what would change.
    Plan,
    /// Change it.
    Apply,
}

/// One phase of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Where it is.
    pub status: PhaseStatus,
    /// When it reached each status, by the status's name.
    pub reached: BTreeMap<String, Timestamp>,
    /// Counts of changes.
    pub summary: Summary,
    /// The whole log, once the phase is over and its pieces are joined.
    pub log: Option<Id<Blob>>,
}

/// Marks the id of a run's plan.
#[derive(Debug)]
pub enum PlanPhase {}

/// Marks the id of a run's apply.
#[derive(Debug)]
pub enum ApplyPhase {}

impl Identified for PlanPhase {
    const PREFIX: &'static str = "plan";
}

impl Identified for ApplyPhase {
    const PREFIX: &'static str = "apply";
}

record!(Run, RUNS = "runs", prefix: "run",
    fields: [
        Field::refers("organization_id", &["organization_id"], "organizations"),
        Field::refers("workspace_id", &["workspace_id"], "workspaces"),
        Field::at("status", &["status"]),
        Field::at("plan_id", &["plan_id"]),
        Field::at("apply_id", &["apply_id"]),
        Field::at("configuration_version_id", &["configuration_version_id"]),
    ],
    unique: [&["plan_id"], &["apply_id"]],
    indexes: [&["workspace_id", "status"], &["organization_id", "status"], &["status"], &["configuration_version_id"]],
    seals: [Run::VARIABLES]);

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            plan_only: false,
            save_plan: false,
            auto_apply: false,
            allow_empty_apply: false,
            is_destroy: false,
            refresh: true,
            refresh_only: false,
            target_addrs: Vec::new(),
            replace_addrs: Vec::new(),
            allow_config_generation: false,
            terraform_version: "latest".to_owned(),
            structured_log: false,
            branch: None,
        }
    }
}

impl Run {
    /// Where the variables that were given with the run are.
    pub const VARIABLES: Seal = Seal { path: &["variables"], context: "run-variables:{id}" };

    /// Whether the run, as it stands, must be the workspace's current run and hold its lock: it may change the state.
    pub fn holds_workspace(&self) -> bool {
        match self.status {
            Status::ApplyQueued | Status::Applying => true,
            Status::PlanQueued | Status::Planning | Status::Planned => !self.options.plan_only && !self.options.save_plan,
            _ => false,
        }
    }

    /// Whether it waits for the workspace: to plan, or, as a saved plan, to apply.
    pub fn waits_for_workspace(&self) -> bool {
        matches!(self.status, Status::Pending | Status::Confirmed)
    }

    /// The phase that is queued or at work.
    pub fn active_phase(&self) -> Option<Phase> {
        match self.status {
            Status::PlanQueued | Status::Planning => Some(Phase::Plan),
            Status::ApplyQueued | Status::Applying => Some(Phase::Apply),
            _ => None,
        }
    }

    /// One of the two phases.
    pub fn phase(&self, phase: Phase) -> &PhaseRecord {
        match phase {
            Phase::Plan => &self.plan,
            Phase::Apply => &self.apply,
        }
    }

    /// The same, to change it.
    pub fn phase_mut(&mut self, phase: Phase) -> &mut PhaseRecord {
        match phase {
            Phase::Plan => &mut self.plan,
            Phase::Apply => &mut self.apply,
        }
    }

    /// The id under which clients see a phase; it names the phase's log.
    pub fn phase_id(&self, phase: Phase) -> &str {
        match phase {
            Phase::Plan => self.plan_id.as_str(),
            Phase::Apply => self.apply_id.as_str(),
        }
    }

    /// Whether the event would be taken now; what buttons and `actions` show.
    pub fn allows(&self, event: &Event, now: Timestamp) -> bool {
        self.clone().on(event, now).is_ok()
    }
}
