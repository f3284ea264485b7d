//! Workers as processes of their own: they take jobs over HTTP, die, come back, and drain.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    crash::{go_in, in_the_middle},
    harness::{Demo, command, send, until},
    services::owned,
    state::held,
};

const TOKEN: &str = "the-fleets-own-token";
/// What the issue of a lost worker may take: nobody should wait longer than this for a run to go on or to end.
const RECOVERY: Duration = Duration::from_secs(10);
/// A plan that takes a few seconds.
const LARGE: &str = "resource \"terraform_data\" \"many\" { count = 4000 }\n";
/// A worker; killed with the value.
pub(crate) struct Worker {
    process: Option<Child>,
    pub(crate) home: TempDir,
    settings: Vec<(String, String)>,
}

impl Worker {
    /// One that takes the jobs that its token allows.
    pub(crate) fn start(urls: &str, token: (&str, &str)) -> Self {
        let settings = owned(&[("TFE_WORKER_SERVERS", urls), token, ("TFE_LOG", "info")]);
        let mut worker = Self { process: None, home: tempfile::tempdir().unwrap(), settings };
        worker.begin();
        worker
    }

    /// Starts it on what it left before.
    pub(crate) fn begin(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.home.path().join("worker.log")).unwrap();
        let mut command = command(self.home.path(), &self.settings);
        command.arg("worker").arg("--data-dir").arg(self.home.path().join("data")).arg("--work-dir").arg(self.work());
        if let Some(mirror) = std::env::var_os("TFE_TEST_MIRROR") {
            let path = self.home.path().join("mirror.tfrc");
            fs::write(&path, format!("provider_installation {{\n  filesystem_mirror {{ path = \"{}\" }}\n}}\n", mirror.display())).unwrap();
            command.arg("--run-cli-config").arg(path);
        }
        self.process = Some(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// Its log.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.home.path().join("worker.log")).unwrap_or_default()
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.home.path().join("work")
    }

    /// Kills it without a warning.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Its process, if it lives.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Whether it works on something now.
    pub(crate) fn is_working(&self) -> bool {
        fs::read_dir(self.work()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Whether the supervisor of a job has left its mark of the end.
    fn has_ended_an_apply(&self) -> bool {
        let jobs = fs::read_dir(self.home.path().join("data/spool")).into_iter().flatten().filter_map(Result::ok);
        jobs.into_iter().any(|job| job.path().join("done.json").exists())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("worker.log")).unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server without a worker of its own.
fn server() -> Demo {
    Demo::serve(owned(&[("TFE_WORKER_EMBEDDED", "false"), ("TFE_WORKER_TOKEN", TOKEN), ("TFE_LOG", "info")]))
}

fn worker(demo: &Demo) -> Worker {
    Worker::start(demo.text("url"), ("TFE_WORKER_TOKEN", TOKEN))
}

#[test]
fn a_run_says_that_no_worker_is_there_and_begins_when_one_comes() {
    let demo = server();
    let project = demo.project("waits", "resource \"terraform_data\" \"a\" {}\n");
    project.init();
    let apply = project.start(&["apply", "-auto-approve", "-no-color"]);
    let waiting = demo.run_until("waits", &["plan_queued"]);
    let reason = waiting["attributes"]["waiting-reason"].as_str().unwrap();
    assert!(reason.contains("no worker is there") && reason.contains("tfe-server worker"), "{reason}");
    assert_eq!(waiting["attributes"]["position-in-queue"], 1);
    let worker = worker(&demo);
    crate::harness::finish(apply).succeeded().shows("Apply complete!");
    assert_eq!(held(&demo, "waits"), ["terraform_data.a"]);
    assert!(!worker.log().contains(TOKEN), "the token is in the log");
}

#[test]
fn agents_take_the_jobs_of_their_pool_and_no_others() {
    let demo = server();
    let organization = demo.text("organization").to_owned();
    let pool = json!({ "data": { "type": "agent-pools", "attributes": { "name": "own" } } });
    let pool = demo.post(&format!("/api/v2/organizations/{organization}/agent-pools"), &pool);
    let pool = pool["data"]["id"].as_str().unwrap().to_owned();
    let token = json!({ "data": { "type": "authentication-tokens", "attributes": { "description": "agents" } } });
    let token = demo.post(&format!("/api/v2/agent-pools/{pool}/authentication-tokens"), &token);
    let token = token["data"]["attributes"]["token"].as_str().unwrap().to_owned();

    let project = demo.project("pooled", "resource \"terraform_data\" \"a\" {}\n");
    project.init();
    let id = demo.workspace("pooled")["id"].as_str().unwrap().to_owned();
    let mode = json!({ "data": { "type": "workspaces", "attributes": { "execution-mode": "agent", "agent-pool-id": pool } } });
    assert_eq!(demo.patch(&format!("/api/v2/workspaces/{id}"), &mode)["data"]["attributes"]["execution-mode"], "agent");

    let _fleet = worker(&demo);
    let apply = project.start(&["apply", "-auto-approve", "-no-color"]);
    let waiting = demo.run_until("pooled", &["plan_queued"]);
    let reason = waiting["attributes"]["waiting-reason"].as_str().unwrap();
    assert!(reason.contains("no agent of the pool own is there"), "{reason}");
    // The fleet's worker is free and does another workspace's run meanwhile.
    let other = demo.project("other", "resource \"terraform_data\" \"b\" {}\n");
    other.init();
    other.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    assert_eq!(demo.run_until("pooled", &["plan_queued"])["attributes"]["status"], "plan_queued");

    let _agent = Worker::start(demo.text("url"), ("TFE_AGENT_TOKEN", &token));
    crate::harness::finish(apply).succeeded().shows("Apply complete!");
    let agents = demo.get(&format!("/api/v2/agent-pools/{pool}/agents"));
    assert_eq!(agents["data"].as_array().unwrap().len(), 1, "{agents}");
    // The token of agents is good for nothing else.
    assert_eq!(demo.get(&format!("/api/v2/agent-pools/{pool}"))["data"]["attributes"]["agent-count"], 1);
    let refused = std::process::Command::new("curl")
        .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", &format!("Authorization: Bearer {token}")])
        .arg(format!("{}/api/v2/organizations/{organization}/workspaces", demo.text("url")))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&refused.stdout), "401");
}

#[test]
fn a_plan_whose_worker_is_killed_runs_elsewhere_within_ten_seconds() {
    let demo = server();
    let mut first = worker(&demo);
    let project = demo.project("lost-plan", LARGE);
    project.init();
    let plan = project.start(&["plan", "-no-color"]);
    demo.run_until("lost-plan", &["planning"]);
    until("the first worker to begin", || first.is_working().then_some(()));
    let second = worker(&demo);
    first.kill();
    let killed = Instant::now();
    until("the second worker to begin", || second.is_working().then_some(()));
    let elapsed = killed.elapsed();
    eprintln!("the plan was begun elsewhere after {} ms", elapsed.as_millis());
    assert!(elapsed < RECOVERY, "{elapsed:?}");
    crate::harness::finish(plan).succeeded().shows("4000 to add");
}

#[test]
fn an_apply_whose_worker_is_killed_ends_within_ten_seconds_with_its_state() {
    let demo = server();
    let mut worker = worker(&demo);
    let _project = in_the_middle(&demo, "lost-apply");
    worker.kill();
    let killed = Instant::now();
    let ended = demo.run_until("lost-apply", &["applied", "errored", "canceled"]);
    let elapsed = killed.elapsed();
    eprintln!("the apply was ended and its state saved after {} ms", elapsed.as_millis());
    assert_eq!(ended["attributes"]["status"], "errored", "{ended}");
    assert!(ended["attributes"]["error-message"].as_str().unwrap().contains("worker of this apply died"), "{ended}");
    // What was in the works when terraform was interrupted is in the state too, marked as tainted.
    assert_eq!(held(&demo, "lost-apply").len(), 3);
    assert_eq!(demo.workspace("lost-apply")["attributes"]["locked"], false);
    assert!(elapsed < RECOVERY, "{elapsed:?}");
}

#[test]
fn an_apply_on_another_worker_than_the_plan_writes_the_state_where_it_is_kept() {
    let demo = server();
    let mut planner = worker(&demo);
    let project = demo.project("moved", "resource \"terraform_data\" \"a\" {}\n");
    project.init();
    project.terraform(&["plan", "-out=tfplan"]).succeeded();
    planner.kill();
    let _other = worker(&demo);
    project.terraform(&["apply", "-no-color", "tfplan"]).succeeded().shows("Apply complete!");
    assert_eq!(held(&demo, "moved"), ["terraform_data.a"]);
}

#[test]
fn a_worker_that_comes_back_goes_on_with_its_apply() {
    let demo = server();
    let mut worker = worker(&demo);
    let _project = in_the_middle(&demo, "restarted");
    worker.kill();
    worker.begin();
    until("the job to be taken up", || worker.log().contains("taking up a job of an earlier process").then_some(()));
    assert!(go_in(&worker.work()), "no run waits");
    let ended = demo.run_until("restarted", &["applied", "errored", "canceled"]);
    assert_eq!(ended["attributes"]["status"], "applied", "{ended}");
    assert_eq!(held(&demo, "restarted").len(), 5);
}

#[test]
fn a_worker_and_its_apply_outlive_the_server() {
    let mut demo = server();
    let listen = demo.text("url").trim_start_matches("http://").to_owned();
    let worker = worker(&demo);
    let _project = in_the_middle(&demo, "outlived");
    demo.kill();
    assert!(go_in(&worker.work()), "no run waits");
    until("the apply to end while nobody listens", || worker.has_ended_an_apply().then_some(()));
    demo.serve_again_at(&listen);
    let ended = demo.run_until("outlived", &["applied", "errored", "canceled"]);
    assert_eq!(ended["attributes"]["status"], "applied", "{ended}");
    assert_eq!(held(&demo, "outlived").len(), 5);
}

#[test]
fn a_drained_node_takes_no_new_work_until_it_may() {
    let demo = Demo::serve(owned(&[("TFE_LOG", "info")]));
    let node = demo.get("/api/v2/admin/nodes")["data"][0]["attributes"]["name"].as_str().unwrap().to_owned();
    let asked = Instant::now();
    demo.post(&format!("/api/v2/admin/nodes/{node}/actions/drain"), &json!({}));
    until("readiness to say so", || {
        demo.get("/api/v1/health/readiness")["status"].as_str().filter(|status| *status == "DRAINING").map(drop)
    });
    let elapsed = asked.elapsed();
    eprintln!("the node was draining after {} ms", elapsed.as_millis());
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
    let project = demo.project("drained", "resource \"terraform_data\" \"a\" {}\n");
    project.init();
    let apply = project.start(&["apply", "-auto-approve", "-no-color"]);
    demo.run_until("drained", &["plan_queued"]);
    let status = |run: Value| run["attributes"]["status"].as_str().unwrap().to_owned();
    assert_eq!(status(demo.runs("drained")[0].clone()), "plan_queued");
    demo.post(&format!("/api/v2/admin/nodes/{node}/actions/undrain"), &json!({}));
    crate::harness::finish(apply).succeeded().shows("Apply complete!");
}

#[test]
fn a_worker_that_is_asked_to_end_finishes_what_it_has() {
    let demo = server();
    let mut worker = worker(&demo);
    let _project = in_the_middle(&demo, "finished");
    send(worker.process.as_ref().unwrap().id(), Signal::SIGTERM);
    until("the worker to say so", || worker.log().contains("taking no new jobs").then_some(()));
    assert!(go_in(&worker.work()), "no run waits");
    let status = worker.process.take().unwrap().wait().unwrap();
    assert!(status.success(), "{status}: {}", worker.log());
    assert_eq!(demo.runs("finished")[0]["attributes"]["status"], "applied");
}

#[test]
fn a_queued_run_is_cancelled_within_a_second() {
    let demo = server();
    let project = demo.project("queued", "resource \"terraform_data\" \"a\" {}\n");
    project.init();
    let plan = project.start(&["plan", "-no-color"]);
    let run = demo.run_until("queued", &["plan_queued"])["id"].as_str().unwrap().to_owned();
    let asked = Instant::now();
    demo.post(&format!("/api/v2/runs/{run}/actions/cancel"), &json!({}));
    demo.run_until("queued", &["canceled"]);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    drop(crate::harness::finish(plan));
}
