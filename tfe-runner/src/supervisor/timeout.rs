//! How long a phase may take, and how long one that was asked to stop. The supervisor looks at the clock, so the bounds hold whoever
//! else dies.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tfe_core::run::Phase;

use super::requests::Stop;

/// The bound of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timeout {
    pub(crate) phase: Phase,
    /// After this much it is interrupted.
    pub(crate) limit: Duration,
    /// After this much more it is killed, whoever interrupted it.
    pub(crate) grace: Duration,
}

/// A stage of the end that was asked for, in words for the run's log: what its user sees of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It was asked to stop and may finish what it has begun, for so long if there is a bound.
    Interrupted(Option<Duration>),
    /// It has not ended in that time.
    OutOfGrace,
    /// Somebody would not wait.
    Forced,
}

/// A phase that was stopped by its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimedOut {
    pub(crate) timeout: Timeout,
    /// Whether the interrupt was not enough.
    pub(crate) killed: bool,
}

/// The bound with the clock that it is measured by.
pub(crate) struct Countdown {
    timeout: Option<Timeout>,
    begun: Instant,
    /// When an interrupt was asked for.
    asked: Option<Instant>,
}

impl Timeout {
    /// What to do after so much time.
    fn after(self, elapsed: Duration) -> Option<Stop> {
        let is_over = |bound: Duration| elapsed >= bound;
        let kill = is_over(self.limit.saturating_add(self.grace)).then_some(Stop::Kill);
        kill.or_else(|| is_over(self.limit).then_some(Stop::Interrupt))
    }
}

impl Countdown {
    /// Begins now; without a bound it never ends.
    pub(crate) fn begin(timeout: Option<Timeout>) -> Self {
        Self { timeout, begun: Instant::now(), asked: None }
    }

    /// What is to be done by now of what was asked for: an interrupt becomes the end when its grace is over.
    pub(crate) fn obey(&mut self, asked: Option<Stop>) -> Option<(Stop, Stage)> {
        let grace = self.timeout.map(|timeout| timeout.grace);
        match asked? {
            Stop::Kill => Some((Stop::Kill, Stage::Forced)),
            Stop::Interrupt => {
                let elapsed = self.asked.get_or_insert_with(Instant::now).elapsed();
                let is_over = grace.is_some_and(|grace| elapsed >= grace);
                Some(if is_over { (Stop::Kill, Stage::OutOfGrace) } else { (Stop::Interrupt, Stage::Interrupted(grace)) })
            }
        }
    }

    /// What is to be done by now, and what to tell about it.
    pub(crate) fn look(&self) -> Option<(Stop, TimedOut)> {
        let timeout = self.timeout?;
        let stop = timeout.after(self.begun.elapsed())?;
        Some((stop, TimedOut { timeout, killed: stop == Stop::Kill }))
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted(Some(grace)) => write!(
                f,
                "Asked to stop. What has begun may finish, and what there is of a state is saved. What has not ended in {} seconds is killed.",
                grace.as_secs()
            ),
            Self::Interrupted(None) => f.write_str("Asked to stop. What has begun may finish, and what there is of a state is saved."),
            Self::OutOfGrace => f.write_str("Killed, since it was asked to stop and did not end in time. A state is as last saved."),
            Self::Forced => f.write_str("Killed, since the end was forced. A state is as last saved."),
        }
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timeout { phase, limit, grace } = self.timeout;
        let (phase, setting) = match phase {
            Phase::Plan => ("plan", "runs.plan_timeout (TFE_PLAN_TIMEOUT)"),
            Phase::Apply => ("apply", "runs.apply_timeout (TFE_APPLY_TIMEOUT)"),
        };
        write!(f, "the {phase} was not done within its timeout of {} seconds and was interrupted", limit.as_secs())?;
        if self.killed {
            write!(f, ", then killed since it did not end in {} seconds more", grace.as_secs())?;
        }
        write!(f, "; raise {setting}, or change fewer resources at once")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Timeout = Timeout { phase: Phase::Plan, limit: Duration::from_hours(2), grace: Duration::from_mins(5) };

    #[test]
    fn an_interrupt_comes_first_and_the_end_later() {
        let after = |seconds| PLAN.after(Duration::from_secs(seconds));
        assert_eq!(
            [after(0), after(7199), after(7200), after(7499), after(7500)],
            [None, None, Some(Stop::Interrupt), Some(Stop::Interrupt), Some(Stop::Kill)]
        );
        let endless = Timeout { limit: Duration::MAX, ..PLAN };
        assert_eq!(endless.after(Duration::from_hours(1_000_000)), None);
    }

    #[test]
    fn an_interrupt_that_was_asked_for_becomes_the_end_after_its_grace() {
        let stops = |grace, asked| Countdown::begin(Some(Timeout { grace, ..PLAN })).obey(asked);
        let patient = Duration::from_mins(10);
        assert_eq!(stops(patient, None), None);
        assert_eq!(stops(patient, Some(Stop::Interrupt)), Some((Stop::Interrupt, Stage::Interrupted(Some(patient)))));
        assert_eq!(stops(Duration::ZERO, Some(Stop::Interrupt)), Some((Stop::Kill, Stage::OutOfGrace)));
        assert_eq!(stops(patient, Some(Stop::Kill)), Some((Stop::Kill, Stage::Forced)));
        assert!(Stage::Interrupted(Some(patient)).to_string().contains("600 seconds"));
    }

    #[test]
    fn what_to_raise_is_said() {
        let text = TimedOut { timeout: PLAN, killed: false }.to_string();
        assert!(text.contains("7200 seconds") && text.contains("runs.plan_timeout (TFE_PLAN_TIMEOUT)") && !text.contains("killed"));
        let text = TimedOut { timeout: Timeout { phase: Phase::Apply, ..PLAN }, killed: true }.to_string();
        assert!(text.contains("TFE_APPLY_TIMEOUT") && text.contains("300 seconds more"));
    }
}
