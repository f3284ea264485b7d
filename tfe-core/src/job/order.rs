//! Whose job a free worker takes next.
//!
//! Three wishes pull against each other: what changes things goes before what only looks, nobody waits for ever, and
//! one organization with a thousand runs must not keep the others out. So a job's class decides, a job that has
//! waited moves up a class, and among equals the organization goes first that has the fewest jobs at work.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{Job, Priority};
use crate::{id::Id, organization::Organization, time::Timestamp};

/// How long a job waits until it counts as one class more urgent, in seconds: longer than a queue that moves makes
/// anybody wait, and short enough that a speculative plan that everybody overtakes begins within minutes.
pub const AGING_SECONDS: i64 = 60;

/// The jobs in the order in which free workers should take them. `working` is how many jobs of each organization are
/// at work in the same queue.
pub fn fair_order<'j, J>(queued: impl IntoIterator<Item = &'j J>, working: &BTreeMap<Id<Organization>, usize>, now: Timestamp) -> Vec<&'j J>
where
    J: AsRef<Job> + 'j,
{
    let mut order: Vec<_> = queued.into_iter().collect();
    order.sort_by_cached_key(|job| {
        let job: &Job = (*job).as_ref();
        let share = working.get(&job.organization_id).copied().unwrap_or(0);
        (Reverse(urgency(job, now)), share, job.created_at, job.id.clone())
    });
    order
}

/// The class of a job now: its own, raised by its age.
fn urgency(job: &Job, now: Timestamp) -> u64 {
    let own = match job.priority {
        Priority::Apply => 2,
        Priority::Plan => 1,
        Priority::Speculative => 0,
    };
    let age = now.millis_since(job.created_at) / (AGING_SECONDS.unsigned_abs() * 1000);
    (own + age).min(2)
}

impl AsRef<Self> for Job {
    fn as_ref(&self) -> &Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::job::tests::job;

    fn first(queued: &[Job], working: &[(&str, usize)], now: i64) -> String {
        let working = working.iter().map(|(id, count)| (Id::from(*id), *count)).collect();
        fair_order(queued, &working, Timestamp::from_millis(now * 1000))[0].id.to_string()
    }

    #[test]
    fn what_changes_things_goes_first() {
        let queued =
            [job("spec", "a", Priority::Speculative, 0), job("plan", "a", Priority::Plan, 1), job("apply", "a", Priority::Apply, 2)];
        assert_eq!(first(&queued, &[], 3), "apply");
        assert_eq!(first(&queued[..2], &[], 3), "plan");
    }

    #[test]
    fn among_equals_the_organization_with_the_smaller_share_goes_first() {
        let queued = [job("a", "busy", Priority::Plan, 0), job("b", "idle", Priority::Plan, 5)];
        assert_eq!(first(&queued, &[("busy", 3)], 6), "b");
        assert_eq!(first(&queued, &[], 6), "a");
    }

    #[test]
    fn a_job_that_waited_is_overtaken_no_more() {
        let queued = [job("old", "a", Priority::Speculative, 0), job("new", "b", Priority::Apply, 2 * AGING_SECONDS)];
        assert_eq!(first(&queued, &[], 2 * AGING_SECONDS - 1), "new");
        assert_eq!(first(&queued, &[], 2 * AGING_SECONDS), "old");
    }

    proptest! {
        /// One organization floods a fleet of any size with the most urgent jobs for ever; each job of the other is
        /// taken within the time of ageing plus the time that those before it need.
        #[test]
        fn nobody_is_starved(slots in 1_usize..4, priority in prop_oneof![Just(Priority::Plan), Just(Priority::Speculative)], work_seconds in 1_i64..30) {
            let mut queued: Vec<Job> = vec![job("mine", "small", priority, 0)];
            let mut working: Vec<(Id<Organization>, i64)> = Vec::new();
            let mut number = 0;
            for now in 0..(2 * AGING_SECONDS + work_seconds + 2) {
                number += 1;
                queued.push(job(&format!("flood-{number}"), "large", Priority::Apply, now));
                working.retain(|(_, end)| *end > now);
                while working.len() < slots && !queued.is_empty() {
                    let mut shares: BTreeMap<Id<Organization>, usize> = BTreeMap::new();
                    for (id, _) in &working {
                        *shares.entry(id.clone()).or_default() += 1;
                    }
                    let id = fair_order(&queued, &shares, Timestamp::from_millis(now * 1000))[0].id.clone();
                    if id.as_str() == "mine" {
                        return Ok(());
                    }
                    let index = queued.iter().position(|job| job.id == id).unwrap();
                    working.push((queued.remove(index).organization_id, now + work_seconds));
                }
            }
            prop_assert!(false, "the job was never taken");
        }
    }
}
