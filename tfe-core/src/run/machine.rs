//! The machine: what an event makes of a run, and what has to be done about it.
//!
//! All decisions about the life of a run are in [`Run::on`]. It is a pure function: whoever drives it loads the run,
//! asks, commits the answer against the version it loaded, and then does the effects. Effects follow from the stored
//! run alone ([`Run::effects`]), so that a process that dies between the commit and the effect loses nothing:
//! a reconciler derives them again.

use super::{Cancel, Event, Phase, PhaseResult, PhaseStatus, Run, Status};
use crate::{error::Refused, time::Timestamp};

/// How long after a cancel request it may be forced: long enough for an engine to save its state.
pub const FORCE_CANCEL_DELAY_SECONDS: i64 = 10;

/// What an event made of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The run as it is now.
    pub run: Run,
    /// What to do about it.
    pub effects: Vec<Effect>,
}

/// What has to be done outside of the run's record. Doing one twice does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// There must be a job for this phase.
    Dispatch(Phase),
    /// The job of this phase must be asked to stop.
    Interrupt(Phase),
    /// The job of this phase must be stopped at once.
    Kill(Phase),
    /// The workspace must not be held by this run, and its queue must be looked at.
    Release,
}

impl Run {
    /// What the event makes of this run, or why it cannot happen now.
    pub fn on(self, event: &Event, now: Timestamp) -> Result<Step, Refused> {
        let refusal = format!("a run that is {} cannot be {}", self.status, event.verb());
        let run = self.next(event, now).ok_or(Refused(refusal))?;
        let effects = run.effects();
        Ok(Step { run, effects })
    }

    /// What has to be true outside of the record while the run is as it is. Besides, only the job of the
    /// [active phase](Run::active_phase) may be open.
    pub fn effects(&self) -> Vec<Effect> {
        let stop = self.cancel.as_ref().map(|cancel| cancel.forced_at.is_some());
        match (self.status, self.active_phase(), stop) {
            (Status::PlanQueued | Status::ApplyQueued, Some(phase), _) => vec![Effect::Dispatch(phase)],
            (_, Some(phase), Some(true)) => vec![Effect::Kill(phase)],
            (_, Some(phase), Some(false)) => vec![Effect::Interrupt(phase)],
            (_, Some(_), None) | (Status::Pending | Status::Planned | Status::Confirmed, ..) => vec![],
            _ => vec![Effect::Release],
        }
    }

    fn next(self, event: &Event, now: Timestamp) -> Option<Self> {
        match (self.status, event) {
            (Status::Pending, Event::Admitted) => Some(self.moved(Status::PlanQueued, now).phased(Phase::Plan, PhaseStatus::Queued, now)),
            (Status::Confirmed, Event::Admitted) | (Status::Applying, Event::NeverReceived) if !self.is_asked_to_stop() => {
                Some(self.queued_for_apply(now))
            }

            (Status::PlanQueued, Event::Claimed) => Some(self.moved(Status::Planning, now).phased(Phase::Plan, PhaseStatus::Running, now)),
            (Status::ApplyQueued, Event::Claimed) => {
                Some(self.moved(Status::Applying, now).phased(Phase::Apply, PhaseStatus::Running, now))
            }

            (Status::Planning, Event::Ended(result)) => Some(self.ended(Phase::Plan, result, now)),
            (Status::Applying, Event::Ended(result)) => Some(self.ended(Phase::Apply, result, now)),

            (Status::Planning, Event::RunnerLost { .. } | Event::NeverReceived) if self.is_asked_to_stop() => {
                Some(self.stopped(Phase::Plan, now))
            }
            (Status::Planning, Event::RunnerLost { retry: true } | Event::NeverReceived) => {
                Some(self.moved(Status::PlanQueued, now).phased(Phase::Plan, PhaseStatus::Queued, now))
            }
            (Status::Planning, Event::RunnerLost { retry: false }) => {
                Some(self.failed("its runner was lost several times; look at the runner's log and start a new run", now))
            }
            (Status::Applying, Event::RunnerLost { .. }) if self.is_forced() => Some(self.stopped(Phase::Apply, now)),
            (Status::Applying, Event::RunnerLost { .. }) => {
                Some(self.failed("its runner was lost during the apply; the state is as last saved, so plan again before you apply", now))
            }

            (Status::Applying, Event::NeverReceived) => Some(self.stopped(Phase::Apply, now)),

            (status, Event::Failed { reason }) if !status.is_final() && self.active_phase().is_some() => Some(self.failed(reason, now)),

            (status, Event::Restored { reached }) if !status.is_final() && status != Status::Pending => {
                let reason = format!(
                    "restored: this installation was restored to {reached}, when this run was in flight; what it has done since is not \
                     known here, so compare the state with the real objects and start a new run"
                );
                Some(self.failed(&reason, now))
            }

            (Status::Planned, Event::ConfirmRequested { by }) => {
                let mut run = self.queued_for_apply(now);
                run.confirmed_by.clone_from(by);
                Some(run)
            }
            (Status::PlannedAndSaved, Event::ConfirmRequested { by }) => {
                let mut run = self.moved(Status::Confirmed, now);
                run.confirmed_by.clone_from(by);
                Some(run)
            }
            (Status::Pending | Status::Planned | Status::PlannedAndSaved | Status::Confirmed, Event::DiscardRequested) => {
                Some(self.moved(Status::Discarded, now).unreachable(now))
            }

            (Status::Pending | Status::PlanQueued | Status::Confirmed | Status::ApplyQueued, Event::CancelRequested) => {
                let phase = self.active_phase();
                let run = self.cancel_requested(now).moved(Status::Canceled, now);
                Some(if let Some(phase) = phase { run.phased(phase, PhaseStatus::Canceled, now) } else { run }.unreachable(now))
            }
            (Status::Planning | Status::Applying, Event::CancelRequested) if self.cancel.is_none() => Some(self.cancel_requested(now)),
            (Status::Planning | Status::Applying, Event::ForceCancelRequested) => self.forced(now),

            _ => None,
        }
    }

    fn ended(mut self, phase: Phase, result: &PhaseResult, now: Timestamp) -> Self {
        let (PhaseResult::Finished(summary) | PhaseResult::Failed { summary, .. } | PhaseResult::Interrupted(summary)) = result;
        self.phase_mut(phase).summary = *summary;
        match (phase, result) {
            (_, PhaseResult::Interrupted(_)) => self.stopped(phase, now),
            // A plan that was cancelled is not offered, even if it was made before the request arrived.
            (Phase::Plan, _) if self.cancel.is_some() => self.stopped(phase, now),
            (_, PhaseResult::Failed { reason, .. }) => self.failed(reason, now),
            (Phase::Plan, PhaseResult::Finished(_)) => self.planned(now),
            (Phase::Apply, PhaseResult::Finished(_)) => self.phased(phase, PhaseStatus::Finished, now).moved(Status::Applied, now),
        }
    }

    fn planned(self, now: Timestamp) -> Self {
        let applicable = self.plan.summary.has_changes || self.options.allow_empty_apply;
        let run = self.phased(Phase::Plan, PhaseStatus::Finished, now);
        match &run.options {
            options if options.plan_only || !applicable => run.moved(Status::PlannedAndFinished, now).unreachable(now),
            options if options.save_plan => run.moved(Status::PlannedAndSaved, now),
            options if options.auto_apply => run.queued_for_apply(now),
            _ => run.moved(Status::Planned, now),
        }
    }

    fn queued_for_apply(self, now: Timestamp) -> Self {
        self.moved(Status::ApplyQueued, now).phased(Phase::Apply, PhaseStatus::Queued, now)
    }

    fn failed(mut self, reason: &str, now: Timestamp) -> Self {
        self.error = Some(reason.to_owned());
        let phase = self.active_phase();
        let run = self.moved(Status::Errored, now);
        if let Some(phase) = phase { run.phased(phase, PhaseStatus::Errored, now) } else { run }.unreachable(now)
    }

    fn stopped(self, phase: Phase, now: Timestamp) -> Self {
        let status = if self.is_forced() { Status::ForceCanceled } else { Status::Canceled };
        self.moved(status, now).phased(phase, PhaseStatus::Canceled, now).unreachable(now)
    }

    fn cancel_requested(mut self, now: Timestamp) -> Self {
        let force_available_at = now.plus_seconds(FORCE_CANCEL_DELAY_SECONDS);
        self.cancel = Some(Cancel { requested_at: now, force_available_at, forced_at: None });
        self
    }

    fn forced(mut self, now: Timestamp) -> Option<Self> {
        let cancel = self.cancel.as_mut().filter(|cancel| cancel.force_available_at <= now && cancel.forced_at.is_none())?;
        cancel.forced_at = Some(now);
        Some(self)
    }

    fn is_asked_to_stop(&self) -> bool {
        self.cancel.is_some()
    }

    fn is_forced(&self) -> bool {
        self.cancel.as_ref().is_some_and(|cancel| cancel.forced_at.is_some())
    }

    fn moved(mut self, status: Status, now: Timestamp) -> Self {
        debug_assert!(self.status.successors().contains(&status), "{} -> {status} is not in the table", self.status);
        self.status = status;
        self.reached.insert(status.as_str().to_owned(), now);
        self
    }

    fn phased(mut self, phase: Phase, status: PhaseStatus, now: Timestamp) -> Self {
        let record = self.phase_mut(phase);
        record.status = status;
        record.reached.insert(status.as_str().to_owned(), now);
        self
    }

    /// Phases that have not begun will not happen.
    fn unreachable(mut self, now: Timestamp) -> Self {
        for phase in [Phase::Plan, Phase::Apply] {
            if !self.phase(phase).status.is_final() {
                self = self.phased(phase, PhaseStatus::Unreachable, now);
            }
        }
        self
    }
}
