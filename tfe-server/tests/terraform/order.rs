//! A thousand runs wait in a queue while their server is killed and replaced again and again: they begin in the order in which they
//! were queued, each is planned once, and none is left over.

mod client;
mod planner;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use self::{
    client::{Place, Queuer},
    planner::Planner,
};
use crate::{
    harness::Demo,
    services::owned,
    upgrade::{address, upgraded},
};

/// What the contract names.
const RUNS: usize = 1_000;
/// A workspace has one run at a time, so most runs wait for their workspace and so many for a worker. When a server dies before it lets
/// the next run of a workspace in, the next server has a round of these to notice it.
const WORKSPACES: usize = 20;
/// After so many steps, a run that is queued or one that is planned, the server dies, or is replaced. No divisor of the number of runs,
/// so that it meets different places of the round.
const STEPS_BETWEEN: usize = 133;
/// The token of the fleet.
const TOKEN: &str = "the-fleets-own-token";
/// The pause between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(1);

/// How many runs were queued, and how many were planned since.
#[derive(Debug, Default)]
struct Steps(AtomicUsize);

impl Steps {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn are(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One run at a time holds a workspace, the oldest that waits; and among jobs of one class and one organization the one goes first that
/// could be done first, which is since its run was queued or since its workspace is free. Runs are queued in turn over the workspaces
/// and planned one at a time, so workspaces are free in the same order, and all runs have to begin exactly in the order in which they
/// were queued: within each workspace, and among workspaces.
#[test]
fn a_thousand_queued_runs_keep_their_order_across_crashes_and_upgrades() {
    let mut server = Demo::serve_in_memory(owned(&[("TFE_LOG", "info"), ("TFE_WORKER_EMBEDDED", "false"), ("TFE_WORKER_TOKEN", TOKEN)]));
    let runtime = Runtime::new().unwrap();
    let queuer = Queuer::new(&server);
    let places = runtime.block_on(queuer.places(WORKSPACES));
    let mut planner = Planner::new(server.text("url"), TOKEN);
    let (steps, begun) = (Steps::default(), Instant::now());
    let (queued, kills, upgrades) = thread::scope(|scope| {
        let working = scope.spawn(|| runtime.block_on(queue_and_plan(&queuer, &places, &mut planner, &steps)));
        let broken = break_meanwhile(&mut server, &steps, || working.is_finished());
        (working.join().unwrap(), broken.0, broken.1)
    });
    let worked = begun.elapsed();
    check(&queued, &planner, &runtime.block_on(queuer.results(&places)));
    eprintln!(
        "{RUNS} runs of {WORKSPACES} workspaces queued and planned in their order in {} s, across {kills} kills and {upgrades} upgrades; \
         {} requests for runs and {} calls of the worker were not answered",
        worked.as_secs(),
        queuer.unanswered(),
        planner.unanswered()
    );
}

/// All are queued before the first is planned. The ids, in the order in which they were queued.
async fn queue_and_plan(queuer: &Queuer, places: &[Place], planner: &mut Planner, steps: &Steps) -> Vec<String> {
    let mut queued = Vec::new();
    for number in 0..RUNS {
        queued.push(queuer.queue(&places[number % places.len()], number).await);
        steps.count();
    }
    for _ in 0..RUNS {
        planner.plan_next().await;
        steps.count();
    }
    queued
}

/// Kills and upgrades the server in turn until all is done. How often each.
fn break_meanwhile(server: &mut Demo, steps: &Steps, is_over: impl Fn() -> bool) -> (usize, usize) {
    let listen = address(server);
    let (mut kills, mut upgrades) = (0, 0);
    for moment in (STEPS_BETWEEN..2 * RUNS).step_by(STEPS_BETWEEN) {
        while steps.are() < moment {
            if is_over() {
                return (kills, upgrades);
            }
            thread::sleep(PAUSE);
        }
        if kills > upgrades {
            upgraded(server);
            upgrades += 1;
        } else {
            server.kill();
            server.serve_again_at(&listen);
            kills += 1;
        }
    }
    (kills, upgrades)
}

/// `results` are the runs that the server has, with what their plans say: which run of all it was that the worker planned.
fn check(queued: &[String], planner: &Planner, results: &[client::Result]) {
    let begun: Vec<_> = planner.received().iter().map(|run| queued.iter().position(|queued| queued == run)).collect();
    let misplaced = begun.iter().enumerate().position(|(place, run)| *run != Some(place));
    if let Some(first) = misplaced {
        panic!("run {first} began out of its order: {:?}", &begun[first..RUNS.min(first + WORKSPACES)]);
    }
    assert_eq!(begun.len(), RUNS, "a run was planned twice, or not at all");
    assert_eq!(results.len(), RUNS, "a run was lost, or is there twice");
    for result in results {
        assert_eq!(result.status, "planned_and_finished", "{result:?}");
        let place = queued.iter().position(|run| *run == result.run).unwrap_or_else(|| panic!("nobody queued {result:?}"));
        assert_eq!(result.additions, Some(place as u64), "another plan's result counts for {result:?}");
    }
}
