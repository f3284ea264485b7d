//! Which of many points in time are kept.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Utc};

use crate::time::Timestamp;

/// Names the hour, day, week or month that a time is in.
type Period = fn(DateTime<Utc>) -> String;

/// How many points are kept of each length of time. A point counts for the hour, day, week and month it is the newest of,
/// in UTC; what counts for none goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Hours that keep a point.
    pub hourly: usize,
    /// Days.
    pub daily: usize,
    /// Weeks, by ISO 8601.
    pub weekly: usize,
    /// Months.
    pub monthly: usize,
}

/// A day of hours, a month of days, and a year of months.
impl Default for Retention {
    fn default() -> Self {
        Self { hourly: 24, daily: 31, weekly: 8, monthly: 12 }
    }
}

impl Retention {
    /// The places in `times` of those that are kept. The newest always is.
    pub fn kept(&self, times: &[Timestamp]) -> BTreeSet<usize> {
        let mut newest_first: Vec<_> = times.iter().enumerate().collect();
        newest_first.sort_by(|one, other| other.1.cmp(one.1));
        let mut kept: BTreeSet<usize> = newest_first.first().map(|(place, _)| *place).into_iter().collect();
        let rules: [(usize, Period); 4] = [
            (self.hourly, |time| time.format("%Y-%m-%d %H").to_string()),
            (self.daily, |time| time.format("%Y-%m-%d").to_string()),
            (self.weekly, |time| format!("{} {}", time.iso_week().year(), time.iso_week().week())),
            (self.monthly, |time| time.format("%Y-%m").to_string()),
        ];
        for (count, name) in rules {
            let mut seen = BTreeSet::new();
            for (place, time) in &newest_first {
                let time = DateTime::from_timestamp_millis(time.as_millis()).unwrap_or(DateTime::UNIX_EPOCH);
                if seen.len() < count && seen.insert(name(time)) {
                    kept.insert(*place);
                }
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn each_length_of_time_keeps_its_newest() {
        // Hourly points of three days, and one much older.
        let mut times: Vec<_> = (0..72).map(|hour| Timestamp::from_millis(1_700_006_400_000 + hour * HOUR)).collect();
        times.push(Timestamp::from_millis(1_600_000_000_000));
        let kept = Retention { hourly: 3, daily: 2, weekly: 0, monthly: 2 }.kept(&times);
        assert_eq!(kept.into_iter().collect::<Vec<_>>(), [47, 69, 70, 71, 72]);
    }

    proptest! {
        #[test]
        fn the_newest_stays_and_keeping_again_keeps_the_same(times in vec(0_i64..4_000_000_000_000, 1..60), counts in any::<[u8; 4]>()) {
            let [hourly, daily, weekly, monthly] = counts.map(|count| usize::from(count % 5));
            let retention = Retention { hourly, daily, weekly, monthly };
            let times: Vec<_> = times.into_iter().map(Timestamp::from_millis).collect();
            let kept = retention.kept(&times);
            let newest = times.iter().max().unwrap();
            prop_assert!(kept.iter().any(|place| times[*place] == *newest));
            prop_assert!(kept.len() <= hourly + daily + weekly + monthly + 1);
            let left: Vec<_> = kept.iter().map(|place| times[*place]).collect();
            prop_assert_eq!(retention.kept(&left).len(), left.len());
        }
    }
}
