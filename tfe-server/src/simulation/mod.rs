//! Simulated installations: nodes, runners and people on one thread, in virtual time, with everything that can fail failing by
//! chance, and all chance from one seed.
//!
//! ```text
//! people ──► App (node-0) ─┐ NodeStore, BadQueue, BadSignals, NodeClock
//!       ╲──► App (node-1) ─┼──► the one MemoryStore ──► Oracle: every commit is held against the invariants
//! runners ──► Network ─────┘
//! ```
//!
//! Nodes run the product's own services and reconciler; what is around them is simulated. A storm of faults lasts for less than a
//! minute of virtual time. Then everything is made good, and within a bounded time every run must be over or wait for a person.
//!
//! `TFE_SIMULATION_SEED=7` lives through one world and prints its last events if it fails; `TFE_SIMULATION_SEEDS=1000` chooses how
//! many worlds there are.

mod chance;
mod clients;
mod clock;
mod faults;
mod gate;
mod ledger;
mod machine;
mod messages;
mod mutated;
mod mutation;
mod nemesis;
mod network;
mod node;
mod oracle;
mod runner;
mod scene;
mod state;
mod store;
pub(crate) mod vault;
mod world;

use std::env;

use self::{
    mutation::Mutation,
    scene::{Failure, live},
};

/// How many worlds there are unless somebody chooses.
const SEEDS: u64 = 10_000;
/// Within how many worlds a defect must show.
const MUTATED_SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}

/// Lives through the worlds of every second seed from `first` on.
fn live_all(first: u64) {
    let seeds = number("TFE_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let chosen = number("TFE_SIMULATION_SEED");
    let seeds = (first..seeds).step_by(2).filter(|_| chosen.is_none()).chain(chosen.filter(|seed| seed % 2 == first));
    for seed in seeds {
        if live(seed, None, false).is_err() {
            // The same again, and this time somebody listens.
            let failure = live(seed, None, true).expect_err("the same seed is the same world");
            panic!(
                "{}\nseed {}: {}\nagain with TFE_SIMULATION_SEED={}",
                failure.events.join("\n"),
                failure.seed,
                failure.reason,
                failure.seed
            );
        }
    }
}

#[test]
fn worlds_of_even_seeds_keep_their_promises() {
    live_all(0);
}

#[test]
fn worlds_of_odd_seeds_keep_their_promises() {
    live_all(1);
}

/// The first world in which a defect shows, by such a reason.
fn caught(mutation: Mutation, reason: &str) -> Failure {
    let mut lives = (0..MUTATED_SEEDS).map(|seed| live(seed, Some(mutation), false));
    let first = lives.find_map(Result::err).unwrap_or_else(|| panic!("{mutation:?} does not show in {MUTATED_SEEDS} worlds"));
    assert!(first.reason.contains(reason), "{mutation:?} shows in seed {} as: {}", first.seed, first.reason);
    first
}

#[test]
fn a_store_that_ignores_versions_is_caught() {
    caught(Mutation::UncheckedVersions, "");
}

#[test]
fn a_runner_that_begins_applies_anew_is_caught() {
    caught(Mutation::RestartedApplies, "was started twice");
}

#[test]
fn a_runner_that_sends_its_log_again_is_caught() {
    caught(Mutation::RepeatedLogs, "differs from what was written");
}

#[test]
fn a_reconciler_without_grace_is_caught() {
    caught(Mutation::NoGrace, "was given up before its time");
}

#[test]
fn nodes_that_reconcile_without_the_duty_are_caught() {
    caught(Mutation::NoDuty, "has the duty");
}

#[test]
fn a_scheduler_that_admits_two_is_caught() {
    caught(Mutation::HeldLooksFree, "needs it");
}

#[test]
fn runs_that_nobody_looks_for_are_caught() {
    caught(Mutation::NoReconciler, "without faults");
}

#[test]
fn a_seed_is_a_world() {
    // A world with a defect tells its events when it fails; whoever lives through it again sees the same, to the last id.
    let seed = caught(Mutation::NoGrace, "").seed;
    let events = || live(seed, Some(Mutation::NoGrace), true).expect_err("it fails each time").events;
    assert_eq!(events(), events());
}
