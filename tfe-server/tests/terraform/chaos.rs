//! Everything dies at random while runs go on: servers, workers, engines, their supervisors, the database, the brokers, and
//! the network between them. Afterwards every run is over, no workspace is locked, every log is whole, and what was created
//! is in a state.
//!
//! A short round is part of the tests. `TFE_CHAOS_RUNS=1000` makes a long one, with half as many kills.

mod checks;
mod site;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use self::site::{Place, Site, WORKSPACES};
use crate::services::variable;

/// Runs of the short round.
const SHORT: usize = 40;
/// The pause between two looks at whether more can be asked for.
const PAUSE: Duration = Duration::from_millis(100);

#[test]
fn whatever_dies_no_run_is_lost_doubled_or_stuck() {
    if variable("TFE_TEST_POSTGRES").is_none() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let wanted = number("TFE_CHAOS_RUNS").and_then(|runs| usize::try_from(runs).ok()).unwrap_or(SHORT);
    let seed = number("TFE_CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("chaos with {wanted} runs; TFE_CHAOS_SEED={seed} draws the same faults");
    let Some(mut site) = Site::start() else { return };
    let places = site.prepare();
    let clients = site.clients();
    let load = Load::new(wanted, wanted / 2);
    let begun = Instant::now();
    thread::scope(|scope| {
        for (number, place) in places.iter().enumerate() {
            let (clients, load) = (&clients, &load);
            scope.spawn(move || load.queue_runs(clients, place, number));
        }
        scope.spawn(|| load.probe(&clients));
        scope.spawn(|| load.count_finished(&clients));
        site.break_things(seed, &load);
        load.stopped.store(true, Ordering::Relaxed);
    });
    let faulty = begun.elapsed();
    site.heal();
    let healed = Instant::now();
    let runs = checks::until_at_rest(&site, &places);
    let rested = healed.elapsed();
    checks::check(&site, &places, &load, &runs);
    let gap = load.longest_gap.lock().unwrap();
    eprintln!(
        "{} runs acknowledged, {} requests without an answer, {} runs in all: 0 lost, 0 doubled, 0 stuck, 0 manual actions",
        load.acknowledged.lock().unwrap().len(),
        load.unanswered.load(Ordering::Relaxed),
        runs.len()
    );
    eprintln!("in {} s; {}", faulty.as_secs(), site.tell());
    eprintln!(
        "longest time without an answer of any server {} ms; at rest {} ms after the last fault",
        gap.as_millis(),
        rested.as_millis()
    );
}

/// What people ask for meanwhile, and what they see.
pub(crate) struct Load {
    wanted: usize,
    kills_wanted: usize,
    /// Runs that were acknowledged.
    acknowledged: Mutex<BTreeSet<String>>,
    /// Requests of which nobody knows whether they made a run.
    unanswered: AtomicUsize,
    finished: AtomicUsize,
    kills: AtomicUsize,
    stopped: AtomicBool,
    longest_gap: Mutex<Duration>,
}

/// How to reach both servers.
pub(crate) struct Clients {
    urls: Vec<String>,
    token: String,
    database: String,
}

impl Load {
    fn new(wanted: usize, kills_wanted: usize) -> Self {
        Self {
            wanted,
            kills_wanted,
            acknowledged: Mutex::default(),
            unanswered: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            kills: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            longest_gap: Mutex::default(),
        }
    }

    /// Whether there were enough runs and enough kills.
    fn is_enough(&self) -> bool {
        self.finished.load(Ordering::Relaxed) >= self.wanted && self.kills.load(Ordering::Relaxed) >= self.kills_wanted
    }

    fn queue_runs(&self, clients: &Clients, place: &Place, number: usize) {
        let relationships = json!({
            "workspace": { "data": { "type": "workspaces", "id": place.workspace } },
            "configuration-version": { "data": { "type": "configuration-versions", "id": place.configuration } },
        });
        let body = json!({ "data": { "type": "runs", "attributes": { "auto-apply": true }, "relationships": relationships } });
        for attempt in number.. {
            // Not more than the workers can do, so that faults meet runs in all their states.
            while self.acknowledged.lock().unwrap().len() > self.finished.load(Ordering::Relaxed) + 2 * WORKSPACES && !self.is_over() {
                thread::sleep(PAUSE);
            }
            if self.is_over() {
                return;
            }
            match clients.answer(attempt, "POST", "/api/v2/runs", &body.to_string()) {
                Some(answer) if answer["data"]["id"].is_string() => {
                    self.acknowledged.lock().unwrap().insert(answer["data"]["id"].as_str().unwrap().to_owned());
                }
                _ => {
                    self.unanswered.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Asks both servers in turn, like a balancer, and notes how long nobody answered.
    fn probe(&self, clients: &Clients) {
        let mut last = Instant::now();
        for attempt in 0.. {
            if self.is_over() {
                return;
            }
            if clients.answer(attempt, "GET", "/api/v2/organizations/demo", "").is_some_and(|answer| answer["data"].is_object()) {
                let mut longest = self.longest_gap.lock().unwrap();
                *longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            thread::sleep(PAUSE / 2);
        }
    }

    fn count_finished(&self, clients: &Clients) {
        while !self.is_over() {
            if let Some(count) = clients.finished() {
                self.finished.store(count, Ordering::Relaxed);
            }
            thread::sleep(3 * PAUSE);
        }
    }

    fn is_over(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
