//! What dies and comes back: nothing stuck, nothing lost.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    harness::{Demo, Project, finish, send, until},
    state::{held, until_held},
};

/// Five resources in a chain; the third waits for a file, so that the test chooses the moment.
const CHAIN: &str = r#"
resource "terraform_data" "one" {}
resource "terraform_data" "two" { depends_on = [terraform_data.one] }
resource "terraform_data" "three" {
  depends_on = [terraform_data.two]
  provisioner "local-exec" { command = "echo waiting-for-go; while [ ! -e ${path.module}/go ]; do sleep 0.05; done; echo went-on" }
}
resource "terraform_data" "four" { depends_on = [terraform_data.three] }
resource "terraform_data" "five" { depends_on = [terraform_data.four] }
"#;

/// An apply that waits in the middle of [`CHAIN`], with the first two resources in the server's state.
pub(crate) fn in_the_middle<'d>(demo: &'d Demo, workspace: &str) -> (Project<'d>, Value) {
    let project = demo.project(workspace, CHAIN);
    project.init();
    project.terraform(&["plan", "-out=tfplan"]).succeeded();
    let run = demo.runs(workspace)[0].clone();
    let body = serde_json::json!({});
    demo.post(&format!("/api/v2/runs/{}/actions/apply", run["id"].as_str().unwrap()), &body);
    until_held(demo, workspace, "terraform_data.two");
    (project, run)
}

/// The process whose command line holds all of these, below the demo's directory.
fn process(demo: &Demo, words: &[&str]) -> u32 {
    let home = demo.home.path().to_str().unwrap().to_owned();
    until(&format!("a process with {words:?}"), || {
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        pids.find(|pid| {
            let text = |name: &str| fs::read(format!("/proc/{pid}/{name}")).map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "));
            let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
            let (Ok(line), Ok(environment)) = (text("cmdline"), text("environ")) else { return false };
            let is_ours = line.contains(&home) || environment.contains(&home) || directory.starts_with(demo.home.path());
            is_ours && words.iter().all(|word| line.contains(word))
        })
    })
}

pub(crate) fn go(demo: &Demo) {
    assert!(go_in(&demo.home.path().join("work")), "no run waits; the server said:\n{}", demo.said());
}

/// Lets the runs go on that wait in a worker's directory. False if there are none.
pub(crate) fn go_in(work: &Path) -> bool {
    let mut path: Option<PathBuf> = None;
    for entry in fs::read_dir(work).into_iter().flatten().filter_map(Result::ok) {
        let main = entry.path().join("config/main.tf");
        if fs::read_to_string(&main).is_ok_and(|text| text.contains("waiting-for-go")) {
            path = Some(main.with_file_name("go"));
        }
    }
    path.is_some_and(|path| fs::write(path, "").is_ok())
}

pub(crate) fn log(demo: &Demo, run: &Value) -> String {
    curl(&[&log_address(demo, run)])
}

fn log_address(demo: &Demo, run: &Value) -> String {
    let apply = demo.get(&format!("/api/v2/runs/{}/apply", run["id"].as_str().unwrap()));
    apply["data"]["attributes"]["log-read-url"].as_str().unwrap().to_owned()
}

fn curl(arguments: &[&str]) -> String {
    let output = std::process::Command::new("curl").arg("-sS").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_apply_survives_the_death_of_the_server() {
    let mut demo = Demo::start();
    let run = in_the_middle(&demo, "survivor").1;
    demo.kill_and_restart();
    go(&demo);
    let ended = demo.run_until("survivor", &["applied", "errored", "canceled"]);
    assert_eq!(ended["attributes"]["status"], "applied", "{ended}");
    assert_eq!(held(&demo, "survivor").len(), 5);
    assert_eq!(demo.workspace("survivor")["attributes"]["locked"], false);
    let log = log(&demo, &run);
    assert!(log.starts_with('\u{2}') && log.ends_with('\u{3}'), "{log}");
    for once in ["waiting-for-go\"", "went-on\"", "terraform_data.one: Creation complete", "terraform_data.five: Creation complete"] {
        let count = log.lines().filter(|line| line.contains(once)).count();
        assert!(count >= 1, "{once} is missing in {log}");
    }
    assert_eq!(log.matches("\"type\":\"change_summary\"").count(), 1, "{log}");
}

#[test]
fn terraform_sees_the_end_of_its_apply_though_the_server_died_twice() {
    // The CLI gives up when its question for a log is refused, so somebody must keep the socket: a service manager or a balancer.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut demo = Demo::serve_on(&socket);
    let project = demo.project("patient", CHAIN);
    project.init();
    let directory = project.directory;
    let terraform = demo.start_terraform(directory.path(), &["apply", "-auto-approve", "-no-color"]);
    until_held(&demo, "patient", "terraform_data.two");
    demo.kill();
    demo.serve_again_on(&socket);
    go(&demo);
    // Again while the run ends, or has just ended.
    until_held(&demo, "patient", "terraform_data.four");
    demo.kill();
    demo.serve_again_on(&socket);
    let seen = finish(terraform).succeeded().shows("Apply complete! Resources: 5 added, 0 changed, 0 destroyed.");
    let shown: Vec<&str> =
        seen.stdout.lines().filter(|line| line.starts_with("terraform_data.") && line.contains("Creation complete")).collect();
    assert_eq!(shown.len(), 5, "each resource was told of once: {}", seen.text);
    let ended = demo.run_until("patient", &["applied", "errored", "canceled"]);
    assert_eq!(ended["attributes"]["status"], "applied", "{ended}");
    assert_eq!(demo.workspace("patient")["attributes"]["locked"], false);
}

/// Of the five seconds that a question for a log is held.
const MOST_OF_A_HOLD: f64 = 4.0;

/// A client repeats a question by itself only on a connection that it has used before, so the first one is not held.
#[test]
fn a_question_for_a_log_is_held_until_there_is_news_unless_its_connection_is_new() {
    let demo = Demo::start();
    let run = in_the_middle(&demo, "held").1;
    let address = log_address(&demo, &run);
    // The engine says every ten seconds that it still waits, which is news.
    let is_held = (0..3).any(|_| {
        let end = format!("{address}?offset={}", curl(&[&address]).len());
        let twice = curl(&["-w", "%{time_total}\n", "-o", "/dev/null", &end, "-o", "/dev/null", &end]);
        let times: Vec<f64> = twice.lines().map(|time| time.parse().unwrap()).collect();
        assert!(times[0] < MOST_OF_A_HOLD, "the first question on a connection was held: {twice}");
        times[1] > MOST_OF_A_HOLD
    });
    assert!(is_held, "later questions were not held");
    go(&demo);
}

#[test]
fn an_apply_that_ended_while_the_server_was_dead_is_reported() {
    let mut demo = Demo::start();
    let run = in_the_middle(&demo, "late").1;
    // The engine goes on during the restart, which takes a moment.
    go(&demo);
    demo.kill_and_restart();
    let ended = demo.run_until("late", &["applied", "errored", "canceled"]);
    assert_eq!(ended["attributes"]["status"], "applied", "{ended}");
    assert_eq!(held(&demo, "late").len(), 5);
    assert!(log(&demo, &run).contains("went-on"));
}

#[test]
fn a_killed_engine_ends_the_run_and_keeps_the_state() {
    let demo = Demo::start();
    let _ = in_the_middle(&demo, "engine");
    send(process(&demo, &["terraform", "apply"]), Signal::SIGKILL);
    let ended = demo.run_until("engine", &["applied", "errored", "canceled"]);
    assert_eq!(ended["attributes"]["status"], "errored", "{ended}");
    let message = ended["attributes"]["error-message"].as_str().unwrap();
    assert!(message.contains("terraform_data.three"), "{message}");
    assert_eq!(held(&demo, "engine"), ["terraform_data.one", "terraform_data.two"]);
    assert_eq!(demo.workspace("engine")["attributes"]["locked"], false);
}

#[test]
fn a_killed_supervisor_ends_the_run_and_keeps_the_state() {
    let demo = Demo::start();
    let _ = in_the_middle(&demo, "supervisor");
    let engine = process(&demo, &["terraform", "apply"]);
    let status = fs::read_to_string(format!("/proc/{engine}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    send(parent, Signal::SIGKILL);
    let ended = demo.run_until("supervisor", &["applied", "errored", "canceled"]);
    assert_eq!(ended["attributes"]["status"], "errored", "{ended}");
    let held = held(&demo, "supervisor");
    for resource in ["terraform_data.one", "terraform_data.two"] {
        assert!(held.contains(&resource.to_owned()), "{held:?}");
    }
    assert_eq!(demo.workspace("supervisor")["attributes"]["locked"], false);
}

#[test]
fn a_second_start_goes_on_where_it_was_and_a_parallel_one_is_refused() {
    let mut demo = Demo::start();
    let (token, history) = (demo.text("token").to_owned(), demo.runs("hello").len());
    let mut second = std::process::Command::new(env!("CARGO_BIN_EXE_tfe-server"));
    second.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(demo.data_directory());
    let refused = finish(second.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap());
    refused.failed().shows("is in use by another server");
    demo.kill_and_restart();
    assert_eq!(demo.text("token"), token);
    assert_eq!(demo.runs("hello").len(), history);
}
