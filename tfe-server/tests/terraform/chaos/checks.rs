//! What must be true once all is at rest.

use std::{collections::BTreeSet, process::Command, time::Duration};

use serde_json::Value;

use super::{
    Load,
    site::{self, Place, Site},
};
use crate::{failover::is_over, harness::until_within};

/// How long the system gets to come to rest once the faults have stopped: what was lost silently waits a minute, and then
/// the queues are worked off.
const REST: Duration = Duration::from_mins(4);
/// Lines that each whole apply prints.
const LINES: usize = 60;
const PAGE: usize = 100;

/// All runs, once they are over.
pub(super) fn until_at_rest(site: &Site, places: &[Place]) -> Vec<Value> {
    site::until_answered(site);
    let mut runs = Vec::new();
    for place in places {
        runs.extend(until_within(REST, &format!("the runs of {} to be over", place.name), || {
            let runs = all_runs(site, place);
            runs.iter().all(is_over).then_some(runs)
        }));
    }
    runs
}

pub(super) fn check(site: &Site, places: &[Place], load: &Load, runs: &[Value]) {
    for place in places {
        let workspace = site.nodes[0].workspace(&place.name);
        assert_eq!(workspace["attributes"]["locked"], false, "{} is locked: {workspace}", place.name);
    }
    let ids: BTreeSet<String> = runs.iter().map(|run| text(run, "/id")).collect();
    assert_eq!(ids.len(), runs.len(), "a run is there twice");
    let acknowledged = load.acknowledged.lock().unwrap();
    let lost: Vec<_> = acknowledged.difference(&ids).collect();
    assert!(lost.is_empty(), "acknowledged runs are lost: {lost:?}");
    let made_without_answer = ids.len() - acknowledged.len();
    let unanswered = load.unanswered.load(std::sync::atomic::Ordering::Relaxed);
    assert!(
        made_without_answer <= unanswered,
        "{made_without_answer} runs more than acknowledged, of {unanswered} requests without an answer"
    );
    let mut outcomes = std::collections::BTreeMap::<String, usize>::new();
    for run in runs {
        check_run(site, run);
        *outcomes.entry(text(run, "/attributes/status")).or_default() += 1;
    }
    eprintln!("outcomes: {outcomes:?}");
    assert!(outcomes.get("applied").copied().unwrap_or(0) * 2 > runs.len(), "less than half of the runs were applied: {outcomes:?}");
}

/// The log of an apply is whole, and what it created is in the run's state, or named by the run as not being there: an engine
/// tells of an object just before it writes it, and was killed between the two.
fn check_run(site: &Site, run: &Value) {
    let id = text(run, "/id");
    let apply = site.nodes[0].get(&format!("/api/v2/runs/{id}/apply"));
    let status = text(&apply, "/data/attributes/status");
    if !matches!(status.as_str(), "finished" | "errored" | "canceled") {
        return;
    }
    let log = fetched(&text(&apply, "/data/attributes/log-read-url"));
    assert!(log.starts_with('\u{2}') && log.ends_with('\u{3}'), "the log of {id} has no frame: {log:?}");
    // An engine that fails says once more, without this mark, what its command has printed.
    let printed = log.lines().filter_map(|line| line.split("(local-exec):").nth(1));
    let numbers: Vec<usize> = printed.filter_map(|line| line.split("line-").nth(1)?.split('-').next()?.parse().ok()).collect();
    let is_whole = numbers.iter().enumerate().all(|(index, number)| *number == index + 1);
    assert!(is_whole, "the log of {id} has a gap or a piece twice: {numbers:?}\n{log}");
    if text(run, "/attributes/status") == "applied" {
        assert_eq!(numbers.len(), LINES, "the log of {id} is cut off: {log}");
        assert_eq!(log.matches("Apply complete!").count(), 1, "{log}");
    }
    let created: Vec<_> = log.lines().filter_map(created).collect();
    if created.is_empty() {
        return;
    }
    let state = state_of(site, run).unwrap_or_else(|| panic!("the run {id} created {created:?} and has no state: {log}"));
    let message = run.pointer("/attributes/error-message").and_then(Value::as_str).unwrap_or_default();
    for (address, object) in &created {
        let is_told = message.contains("may exist without being in the state") && message.contains(address.as_str());
        let is_there = state.contains(object.as_str()) || is_told;
        assert!(is_there, "{address} ({object}), created by {id} ({run}), is not in its state:\n{log}\n{state}");
    }
}

/// The address and the id in `terraform_data.a[0]: Creation complete after 0s [id=…]`.
fn created(line: &str) -> Option<(String, String)> {
    let (address, rest) = line.split_once(": Creation complete")?;
    // Colours come before it.
    let address = &address[address.find("terraform_data")?..];
    Some((address.to_owned(), rest.split("[id=").nth(1)?.split(']').next()?.to_owned()))
}

fn state_of(site: &Site, run: &Value) -> Option<String> {
    let workspace = text(run, "/relationships/workspace/data/id");
    let workspace = text(&site.nodes[0].get(&format!("/api/v2/workspaces/{workspace}")), "/data/attributes/name");
    let filter = format!("filter%5Borganization%5D%5Bname%5D=demo&filter%5Bworkspace%5D%5Bname%5D={workspace}");
    for page in 1.. {
        let path = format!("/api/v2/state-versions?{filter}&page%5Bsize%5D={PAGE}&page%5Bnumber%5D={page}");
        let versions = site.nodes[0].get(&path);
        let versions = versions["data"].as_array().cloned().unwrap_or_default();
        let own = versions.iter().find(|version| version.pointer("/relationships/run/data/id") == run.get("id"));
        if let Some(own) = own {
            return Some(fetched(&text(own, "/attributes/hosted-state-download-url")));
        }
        if versions.len() < PAGE {
            return None;
        }
    }
    None
}

fn all_runs(site: &Site, place: &Place) -> Vec<Value> {
    let mut runs = Vec::new();
    for page in 1.. {
        let path = format!("/api/v2/workspaces/{}/runs?page%5Bsize%5D={PAGE}&page%5Bnumber%5D={page}", place.workspace);
        let answer = site.nodes[0].get(&path);
        let items = answer["data"].as_array().cloned().unwrap_or_default();
        let is_last = items.len() < PAGE;
        runs.extend(items);
        if is_last {
            return runs;
        }
    }
    runs
}

fn fetched(url: &str) -> String {
    let output = Command::new("curl").args(["-sS", url]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}")).to_owned()
}
