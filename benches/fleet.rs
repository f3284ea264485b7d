//! How many runs get done, compared with the same terraform commands without a server.
//!
//! A plan in each of a hundred workspaces, all queued at once, on a server with as many places as the direct commands have
//! threads. The figure is the ratio of runs in a minute, through the server by directly, both in one run and in turn.
//! Runs get settings of the heap that make engines faster (`tfe_runner::heap_settings`), so the commands are measured with these
//! too: that figure is what the server itself costs. Besides, how long a run waits from being queued to being planned when a
//! place is free. Needs release builds:
//!
//! ```sh
//! cargo build --release -p tfe-server && cargo bench -p tfe-benches --bench fleet
//! ```
#![expect(clippy::print_stdout, reason = "a measurement prints its figures")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tfe_runner::{
    heap_settings,
    isolation::{Limits, Setting},
};

/// Workspaces, and runs of each measurement.
const WORKSPACES: u16 = 100;
/// Runs at once, on both sides: twice the cores of the machine that the project is measured on.
const CONCURRENCY: usize = 4;
/// How often both sides are measured.
const ROUNDS: usize = 3;
/// Runs one after the other, for the time from queued to started.
const SINGLE_RUNS: usize = 20;
/// The ratio that the project promises.
const PROMISE: f64 = 0.85;
const CONFIGURATION: &str = "resource \"terraform_data\" \"a\" {}\n";
/// What a plan of a run is made of.
const COMMANDS: [&[&str]; 4] = [
    &["init", "-input=false"],
    &["plan", "-input=false", "-lock=false", "-out=tfplan"],
    &["show", "-json", "tfplan"],
    &["providers", "schema", "-json"],
];

fn main() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let server = Server::start(home.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut direct, mut tuned, mut through) = (Vec::new(), Vec::new(), Vec::new());
    let workspaces = runtime.block_on(server.workspaces());
    for round in 0..ROUNDS {
        direct.push(directly(&home.path().join(format!("direct-{round}")), Vec::new()));
        tuned.push(directly(&home.path().join(format!("tuned-{round}")), heap_settings(Limits::default().memory_bytes)));
        through.push(runtime.block_on(server.plan_all(&workspaces)));
    }
    let (direct, tuned, through) = (median(direct), median(tuned), median(through));
    let rate = |time: Duration| 60.0 * f64::from(WORKSPACES) / time.as_secs_f64();
    println!("{WORKSPACES} plans, {CONCURRENCY} at once, medians of {ROUNDS}");
    println!("directly           {:>7.0} runs/min", rate(direct));
    println!("with runs' heap    {:>7.0} runs/min", rate(tuned));
    println!("through the server {:>7.0} runs/min", rate(through));
    println!("ratio              {:>7.2}, promised at least {PROMISE}", rate(through) / rate(direct));
    println!("with runs' heap    {:>7.2}", rate(through) / rate(tuned));
    let mut waits = runtime.block_on(server.waits(&workspaces[0]));
    waits.sort();
    let at = |share: usize| waits[(waits.len() - 1) * share / 100].as_millis();
    println!("from queued to started with a free place: median {} ms, 95 % within {} ms", at(50), at(95));
}

/// The same commands from as many threads.
fn directly(home: &Path, environment: Vec<Setting>) -> Duration {
    let directories: Vec<PathBuf> = (0..WORKSPACES).map(|number| home.join(number.to_string())).collect();
    for directory in &directories {
        fs::create_dir_all(directory).expect("a directory");
        fs::write(directory.join("main.tf"), CONFIGURATION).expect("a file");
    }
    let (next, directories, environment) = (Arc::new(AtomicUsize::new(0)), Arc::new(directories), Arc::new(environment));
    let start = Instant::now();
    let workers = (0..CONCURRENCY).map(|_| {
        let (next, directories, environment) = (next.clone(), directories.clone(), environment.clone());
        thread::spawn(move || {
            while let Some(directory) = directories.get(next.fetch_add(1, Ordering::Relaxed)) {
                for arguments in COMMANDS {
                    terraform(directory, arguments, &environment);
                }
            }
        })
    });
    workers.collect::<Vec<_>>().into_iter().for_each(|worker| worker.join().expect("all of it"));
    start.elapsed()
}

fn terraform(directory: &Path, arguments: &[&str], environment: &[Setting]) {
    let mut command = Command::new("terraform");
    command.args(arguments).current_dir(directory).env("CHECKPOINT_DISABLE", "1").env("TF_CLI_CONFIG_FILE", "/dev/null");
    command.envs(environment.iter().map(|setting| (&setting.name, setting.value.expose())));
    let output = fs::File::create(directory.join("output")).expect("a file");
    let status = command.stdout(output).status().expect("terraform is on the PATH");
    assert!(status.success(), "terraform {arguments:?} ended with {status}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A workspace with an uploaded configuration.
#[derive(Clone)]
struct Workspace {
    id: String,
    configuration: String,
}

/// A server, ended with the value.
struct Server {
    process: Child,
    url: String,
    token: String,
    http: Client,
}

impl Server {
    fn start(home: &Path) -> Self {
        let log = home.join("server.log");
        let output = fs::File::create(&log).expect("a log");
        let mut command = Command::new(program());
        command.args(["demo", "--listen", "127.0.0.1:0", "--concurrency", &CONCURRENCY.to_string()]);
        command.arg("--data-dir").arg(home.join("data")).arg("--work-dir").arg(home.join("work"));
        let process = command.stdout(output).stderr(Stdio::null()).spawn();
        let process = process.expect("the server starts; build it with cargo build --release -p tfe-server");
        let deadline = Instant::now() + Duration::from_mins(1);
        while !fs::read_to_string(&log).is_ok_and(|text| text.contains("Ctrl-C")) {
            assert!(Instant::now() < deadline, "the server is not ready");
            thread::sleep(Duration::from_millis(20));
        }
        let access: Value = serde_json::from_slice(&fs::read(home.join("data/demo.json")).expect("demo.json")).expect("JSON");
        let text = |key: &str| access[key].as_str().expect("a text").to_owned();
        Self { process, url: text("url"), token: text("token"), http: Client::new() }
    }

    async fn workspaces(&self) -> Vec<Workspace> {
        let archive = archive();
        let mut workspaces = Vec::new();
        for number in 0..WORKSPACES {
            let body = json!({ "data": { "type": "workspaces", "attributes": { "name": format!("fleet-{number}") } } });
            let workspace = self.call(Method::POST, "organizations/demo/workspaces", &body).await;
            let id = workspace["data"]["id"].as_str().expect("an id").to_owned();
            let body =
                json!({ "data": { "type": "configuration-versions", "attributes": { "auto-queue-runs": false, "speculative": true } } });
            let version = self.call(Method::POST, &format!("workspaces/{id}/configuration-versions"), &body).await;
            let upload = version["data"]["attributes"]["upload-url"].as_str().expect("an address").to_owned();
            let answer = self.http.put(upload).body(archive.clone()).send().await.expect("an answer");
            assert!(answer.status().is_success());
            workspaces.push(Workspace { id, configuration: version["data"]["id"].as_str().expect("an id").to_owned() });
        }
        workspaces
    }

    /// Queues a run in each at once, and waits for all.
    async fn plan_all(&self, workspaces: &[Workspace]) -> Duration {
        let start = Instant::now();
        let runs = futures::future::join_all(workspaces.iter().map(|workspace| self.queue(workspace))).await;
        for run in runs {
            self.finished(&run).await;
        }
        start.elapsed()
    }

    /// How long runs wait that are alone.
    async fn waits(&self, workspace: &Workspace) -> Vec<Duration> {
        let mut waits = Vec::new();
        for _ in 0..SINGLE_RUNS {
            let run = self.queue(workspace).await;
            let run = self.finished(&run).await;
            let at = |status: &str| {
                let text = run["data"]["attributes"]["status-timestamps"][status].as_str().expect("a time");
                tfe_core::time::Timestamp::parse(text).expect("a time")
            };
            waits.push(Duration::from_millis(at("planning-at").millis_since(at("plan-queued-at"))));
        }
        waits
    }

    async fn queue(&self, workspace: &Workspace) -> String {
        let body = json!({ "data": {
            "type": "runs",
            "attributes": { "plan-only": true },
            "relationships": {
                "workspace": { "data": { "type": "workspaces", "id": workspace.id } },
                "configuration-version": { "data": { "type": "configuration-versions", "id": workspace.configuration } },
            },
        } });
        self.call(Method::POST, "runs", &body).await["data"]["id"].as_str().expect("a run").to_owned()
    }

    async fn finished(&self, run: &str) -> Value {
        loop {
            let shown = self.call(Method::GET, &format!("runs/{run}"), &Value::Null).await;
            match shown["data"]["attributes"]["status"].as_str() {
                Some("planned_and_finished") => return shown,
                Some("errored" | "canceled") => panic!("a run failed: {shown}"),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let request = self.http.request(method, format!("{}/api/v2/{path}", self.url)).bearer_auth(&self.token);
        let request = if body.is_null() { request } else { request.json(body) };
        request.send().await.expect("an answer").json().await.expect("JSON")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn archive() -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("main.tf"), CONFIGURATION).expect("a file");
    let output = Command::new("tar").args(["-czf", "-", "main.tf"]).current_dir(directory.path()).output().expect("tar is on the PATH");
    output.stdout
}

fn program() -> PathBuf {
    let own = std::env::current_exe().expect("a path");
    own.ancestors().nth(2).expect("the target directory").join("tfe-server")
}
