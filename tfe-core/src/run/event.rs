//! What can happen to a run.

use crate::{id::Id, plan::Summary, run::Phase, time::Timestamp, user::User};

/// A fact or a request; the machine says what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The workspace's queue let it go on.
    Admitted,
    /// A runner took the job of its phase.
    Claimed,
    /// The job of its phase ended.
    Ended(Result),
    /// The runner of its phase is gone. `retry` says whether the job may be started again.
    RunnerLost {
        /// Whether attempts are left; an apply is never started again whatever this says.
        retry: bool,
    },
    /// The runner that took the job of its phase has never heard of it: the answer that would have told it was lost. Nothing
    /// was begun, so the job is given out again, an apply too.
    NeverReceived,
    /// It cannot go on, for a reason outside the engine.
    Failed {
        /// The reason, for people.
        reason: String,
    },
    /// The installation was restored from a snapshot that was taken while the run was in flight. What the run has done since
    /// then nobody knows, so it goes no further.
    Restored {
        /// The moment that the data shows.
        reached: Timestamp,
    },
    /// A person wants the plan applied.
    ConfirmRequested {
        /// Who, if it was a person.
        by: Option<Id<User>>,
    },
    /// A person does not want the plan applied.
    DiscardRequested,
    /// A person wants it to stop and save what it has.
    CancelRequested,
    /// A person wants it to stop at once.
    ForceCancelRequested,
}

/// How the job of a phase ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Result {
    /// It did what it should.
    Finished(Summary),
    /// It failed.
    Failed {
        /// The reason, for people.
        reason: String,
        /// What happened before.
        summary: Summary,
    },
    /// It was interrupted on request.
    Interrupted(Summary),
}

impl Event {
    /// A short name for messages: "a run that is … cannot be …".
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Claimed => "claimed",
            Self::Ended(_) => "ended",
            Self::RunnerLost { .. } => "lost by its runner",
            Self::NeverReceived => "given out again",
            Self::Failed { .. } => "failed",
            Self::Restored { .. } => "restored",
            Self::ConfirmRequested { .. } => "applied",
            Self::DiscardRequested => "discarded",
            Self::CancelRequested => "canceled",
            Self::ForceCancelRequested => "force-canceled",
        }
    }
}

impl From<Phase> for &'static str {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Plan => "plan",
            Phase::Apply => "apply",
        }
    }
}
