//! The statuses of a run and the table of moves between them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a run is. The names are the wire's (`contract`: run statuses of Terraform Enterprise).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waits for its turn in the workspace.
    Pending,
    /// Waits for a runner to plan it.
    PlanQueued,
    /// Is being planned.
    Planning,
    /// Waits for a person to confirm.
    Planned,
    /// Planned, and nothing more will be done: there are no changes, or it was only a plan.
    PlannedAndFinished,
    /// Planned and kept, to be applied later if at all.
    PlannedAndSaved,
    /// A saved plan was confirmed and waits for its turn in the workspace.
    Confirmed,
    /// Waits for a runner to apply it.
    ApplyQueued,
    /// Is being applied.
    Applying,
    /// Applied.
    Applied,
    /// A person chose not to apply it.
    Discarded,
    /// Failed.
    Errored,
    /// Stopped on request.
    Canceled,
    /// Stopped on request without waiting for the engine.
    ForceCanceled,
}

/// Where a phase of a run, its plan or its apply, is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseStatus {
    /// Not begun.
    #[default]
    Pending,
    /// Waits for a runner.
    Queued,
    /// A runner works on it.
    Running,
    /// Done.
    Finished,
    /// Failed.
    Errored,
    /// Stopped on request.
    Canceled,
    /// Will not happen.
    Unreachable,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 14] = [
        Self::Pending,
        Self::PlanQueued,
        Self::Planning,
        Self::Planned,
        Self::PlannedAndFinished,
        Self::PlannedAndSaved,
        Self::Confirmed,
        Self::ApplyQueued,
        Self::Applying,
        Self::Applied,
        Self::Discarded,
        Self::Errored,
        Self::Canceled,
        Self::ForceCanceled,
    ];

    /// The statuses that can follow this one. The machine moves along this table only.
    pub const fn successors(self) -> &'static [Self] {
        use Status::{
            Applied, ApplyQueued, Applying, Canceled, Confirmed, Discarded, Errored, ForceCanceled, PlanQueued, Planned,
            PlannedAndFinished, PlannedAndSaved, Planning,
        };
        match self {
            Self::Pending => &[PlanQueued, Canceled, Discarded],
            Self::PlanQueued => &[Planning, Canceled, Errored],
            Self::Planning => &[PlanQueued, Planned, PlannedAndFinished, PlannedAndSaved, ApplyQueued, Errored, Canceled, ForceCanceled],
            Self::Planned => &[ApplyQueued, Discarded, Errored],
            Self::PlannedAndSaved => &[Confirmed, Discarded, Errored],
            Self::Confirmed => &[ApplyQueued, Canceled, Discarded, Errored],
            Self::ApplyQueued => &[Applying, Canceled, Errored],
            Self::Applying => &[ApplyQueued, Applied, Errored, Canceled, ForceCanceled],
            Self::PlannedAndFinished | Self::Applied | Self::Discarded | Self::Errored | Self::Canceled | Self::ForceCanceled => &[],
        }
    }

    /// Whether nothing follows.
    pub const fn is_final(self) -> bool {
        self.successors().is_empty()
    }

    /// The wire's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::PlanQueued => "plan_queued",
            Self::Planning => "planning",
            Self::Planned => "planned",
            Self::PlannedAndFinished => "planned_and_finished",
            Self::PlannedAndSaved => "planned_and_saved",
            Self::Confirmed => "confirmed",
            Self::ApplyQueued => "apply_queued",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::Discarded => "discarded",
            Self::Errored => "errored",
            Self::Canceled => "canceled",
            Self::ForceCanceled => "force_canceled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PhaseStatus {
    /// The wire's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Errored => "errored",
            Self::Canceled => "canceled",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether the phase is over, so that its log is complete.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Queued | Self::Running)
    }
}
