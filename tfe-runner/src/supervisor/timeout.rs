//! How long a phase may take. The supervisor looks at the clock, so the bound holds whoever else dies.

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
    /// After this much more it is killed.
    pub(crate) grace: Duration,
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
        Self { timeout, begun: Instant::now() }
    }

    /// What is to be done by now, and what to tell about it.
    pub(crate) fn look(&self) -> Option<(Stop, TimedOut)> {
        let timeout = self.timeout?;
        let stop = timeout.after(self.begun.elapsed())?;
        Some((stop, TimedOut { timeout, killed: stop == Stop::Kill }))
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
    fn what_to_raise_is_said() {
        let text = TimedOut { timeout: PLAN, killed: false }.to_string();
        assert!(text.contains("7200 seconds") && text.contains("runs.plan_timeout (TFE_PLAN_TIMEOUT)") && !text.contains("killed"));
        let text = TimedOut { timeout: Timeout { phase: Phase::Apply, ..PLAN }, killed: true }.to_string();
        assert!(text.contains("TFE_APPLY_TIMEOUT") && text.contains("300 seconds more"));
    }
}
