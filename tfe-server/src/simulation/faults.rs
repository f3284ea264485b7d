//! What can go wrong in a world, and how often. Most worlds have a few kinds of faults only, so that each kind gets its way; all at
//! once would keep anything from happening.

use super::chance::Chance;

/// How many kinds of faults out of ten a world has.
const KINDS_IN_A_THOUSAND: u64 = 450;

/// Probabilities in a thousand, for each occasion.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// A message is never delivered.
    pub(super) message_lost: u64,
    /// A message is delivered twice.
    pub(super) message_doubled: u64,
    /// A message comes later, perhaps after others.
    pub(super) message_late: u64,
    /// A call to the store takes long.
    pub(super) store_slow: u64,
    /// A call to the store does not arrive.
    pub(super) store_away: u64,
    /// A commit is refused since another batch was in the way.
    pub(super) store_conflict: u64,
    /// A commit happens, and its answer is lost.
    pub(super) store_unanswered: u64,
    /// A runner's call does not arrive.
    pub(super) call_lost: u64,
    /// A runner's connection breaks before the answer comes; the call is done or goes on.
    pub(super) call_unanswered: u64,
    /// A runner's call arrives again later.
    pub(super) call_doubled: u64,
    /// Weights of what happens to processes and machines.
    pub(super) node_crash: u64,
    pub(super) node_freeze: u64,
    pub(super) node_clock: u64,
    pub(super) runner_crash: u64,
    pub(super) runner_freeze: u64,
    pub(super) runner_cut_off: u64,
    pub(super) machine_lost: u64,
    /// Whether nodes tell of themselves, which costs much and meets little.
    pub(super) nodes_tell: bool,
}

impl Faults {
    /// Those of one world.
    pub(super) fn drawn(chance: &Chance) -> Self {
        let perhaps = |most: u64| if chance.happens(KINDS_IN_A_THOUSAND) { chance.of(1..most + 1) } else { 0 };
        Self {
            message_lost: perhaps(500),
            message_doubled: perhaps(300),
            message_late: perhaps(500),
            store_slow: perhaps(60),
            store_away: perhaps(30),
            store_conflict: perhaps(60),
            store_unanswered: perhaps(60),
            call_lost: perhaps(60),
            call_unanswered: perhaps(80),
            call_doubled: perhaps(120),
            node_crash: perhaps(10),
            node_freeze: perhaps(10),
            node_clock: perhaps(10),
            runner_crash: perhaps(10),
            runner_freeze: perhaps(10),
            runner_cut_off: perhaps(10),
            machine_lost: perhaps(4),
            nodes_tell: chance.happens(200),
        }
    }
}
