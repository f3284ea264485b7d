//! When something is to be done again and again: `hourly`, `daily`, or any cron expression, in UTC.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use croner::Cron;

use crate::time::Timestamp;

/// Names for what most people want.
const NAMES: [(&str, &str); 4] = [("hourly", "0 * * * *"), ("daily", "0 2 * * *"), ("weekly", "0 2 * * SUN"), ("monthly", "0 2 1 * *")];

/// Times that come again.
#[derive(Clone)]
pub struct Schedule {
    text: String,
    cron: Cron,
}

/// The text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be hourly, daily, weekly, monthly or a cron expression like \"15 */4 * * *\", not \"{0}\"")]
pub struct NoSchedule(pub String);

impl Schedule {
    /// The first time after `time`; none if there is no more.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let time: DateTime<Utc> = DateTime::from_timestamp_millis(time.as_millis())?;
        let next = self.cron.find_next_occurrence(&time, false).ok()?;
        Some(Timestamp::from_millis(next.timestamp_millis()))
    }

    /// Whether it is time to do what was last done at `last`, if ever.
    pub fn is_due(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        last.is_none_or(|last| self.next_after(last).is_some_and(|next| next <= now))
    }
}

impl FromStr for Schedule {
    type Err = NoSchedule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expression = NAMES.iter().find(|(name, _)| *name == text).map_or(text, |(_, expression)| expression);
        let cron = expression.parse().map_err(|_| NoSchedule(text.to_owned()))?;
        Ok(Self { text: text.to_owned(), cron })
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({self})")
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn names_and_expressions_say_when() {
        let now = at("2026-11-25T10:20:30Z");
        for (text, next) in [
            ("hourly", "2026-11-25T11:00:00Z"),
            ("daily", "2026-11-26T02:00:00Z"),
            ("weekly", "2026-11-29T02:00:00Z"),
            ("monthly", "2026-12-01T02:00:00Z"),
            ("*/15 * * * *", "2026-11-25T10:30:00Z"),
        ] {
            assert_eq!(text.parse::<Schedule>().unwrap().next_after(now), Some(at(next)), "{text}");
        }
        for text in ["", "often", "99 * * * *"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_missed_is_due_once() {
        let hourly: Schedule = "hourly".parse().unwrap();
        let now = at("2026-11-25T10:20:30Z");
        assert!(hourly.is_due(None, now));
        assert!(hourly.is_due(Some(at("2026-11-25T07:10:00Z")), now));
        assert!(!hourly.is_due(Some(at("2026-11-25T10:00:00Z")), now));
    }
}
