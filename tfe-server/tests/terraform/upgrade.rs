//! A server that is replaced, killed, or rolled, and what its clients notice: nothing, or almost.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::{
    crash::{go, in_the_middle, log},
    harness::{Demo, Outcome, finish, send, until, until_within},
    services::{Database, external, owned},
    state::held,
};

/// Clients that ask all the time.
const CLIENTS: usize = 24;
/// How long one request may take: the machine that tests is busy.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a slow client takes for its upload: longer than a server that ends waits for anybody, which is 7 seconds.
const SLOW_UPLOAD: Duration = Duration::from_secs(10);
/// In how many pieces it comes.
const PIECES: u32 = 20;
/// The most that a kill may cost in a test; what it costs is printed.
const RECOVERY_PATIENCE: Duration = Duration::from_secs(5);

/// Clients that ask servers all the time, each over a connection that it keeps.
struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<Seen>>,
}

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    answers: usize,
    /// Connections that were refused.
    refused: usize,
    /// Requests that one server did not answer, and that another one was asked.
    repeated: usize,
    /// Requests that were sent and not answered with 200.
    failures: Vec<String>,
    /// The longest time between two answers to one client.
    gap: Duration,
}

/// A client with a connection that it keeps as long as the server does.
struct Client {
    servers: Vec<String>,
    path: String,
    token: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Load {
    /// On these servers; each client goes to the next one when one is away.
    fn on(servers: &[&Demo], path: &str) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let addresses: Vec<_> = servers.iter().map(|server| address(server)).collect();
        let clients = (0..CLIENTS).map(|_| {
            let client =
                Client { servers: addresses.clone(), path: path.to_owned(), token: servers[0].text("token").to_owned(), connection: None };
            let is_over = is_over.clone();
            thread::spawn(move || client.ask_until(&is_over))
        });
        Self { clients: clients.collect(), is_over }
    }

    fn end(self) -> Seen {
        self.is_over.store(true, Ordering::Relaxed);
        let each = self.clients.into_iter().map(|client| client.join().unwrap());
        each.fold(Seen::default(), |mut all, one| {
            all.answers += one.answers;
            all.refused += one.refused;
            all.repeated += one.repeated;
            all.failures.extend(one.failures);
            all.gap = all.gap.max(one.gap);
            all
        })
    }
}

impl Client {
    fn ask_until(mut self, is_over: &AtomicBool) -> Seen {
        let mut seen = Seen::default();
        let mut last = Instant::now();
        while !is_over.load(Ordering::Relaxed) {
            let asked = self.ask(&mut seen).or_else(|error| self.ask_another(&mut seen).map_err(|_| error));
            match asked {
                Ok(()) => {
                    seen.answers += 1;
                    seen.gap = seen.gap.max(last.elapsed());
                    last = Instant::now();
                }
                Err(error) => seen.failures.push(error),
            }
        }
        seen
    }

    /// The same request to the next server, if there is one.
    fn ask_another(&mut self, seen: &mut Seen) -> Result<(), String> {
        if self.servers.len() < 2 {
            return Err("there is no other server".to_owned());
        }
        seen.repeated += 1;
        self.servers.rotate_left(1);
        self.ask(seen)
    }

    /// One request, on the connection that is there or a new one.
    fn ask(&mut self, seen: &mut Seen) -> Result<(), String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect(seen)?,
        };
        let (path, token) = (&self.path, &self.token);
        let request = format!("GET {path} HTTP/1.1\r\nHost: tfe\r\nAuthorization: Bearer {token}\r\n\r\n");
        connection.get_mut().write_all(request.as_bytes()).map_err(|error| format!("sending: {error}"))?;
        let (status, closes) = answer(&mut connection)?;
        if !closes {
            self.connection = Some(connection);
        }
        if status == 200 { Ok(()) } else { Err(format!("status {status}")) }
    }

    fn connect(&mut self, seen: &mut Seen) -> Result<BufReader<TcpStream>, String> {
        for _ in 0..self.servers.len() {
            if let Ok(stream) = TcpStream::connect(&self.servers[0]) {
                stream.set_read_timeout(Some(REQUEST_TIMEOUT)).unwrap();
                stream.set_nodelay(true).unwrap();
                return Ok(BufReader::new(stream));
            }
            seen.refused += 1;
            self.servers.rotate_left(1);
        }
        Err("no server takes connections".to_owned())
    }
}

/// The status of an answer, and whether the connection ends with it.
fn answer(connection: &mut BufReader<TcpStream>) -> Result<(u16, bool), String> {
    let (mut status, mut length, mut closes) = (None, 0, false);
    loop {
        let mut line = String::new();
        let read = connection.read_line(&mut line).map_err(|error| format!("reading: {error}"))?;
        if read == 0 {
            return Err("closed without an answer".to_owned());
        }
        let line = line.trim_end().to_ascii_lowercase();
        match (status, line.split_once(": ")) {
            (None, _) => status = Some(line.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or("no status")?),
            (_, Some(("content-length", value))) => length = value.parse().map_err(|_| "no length")?,
            (_, Some(("connection", "close"))) => closes = true,
            (_, None) if line.is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).map_err(|error| format!("reading: {error}"))?;
    Ok((status.ok_or("no status")?, closes))
}

pub(crate) fn address(server: &Demo) -> String {
    server.text("url").trim_start_matches("http://").to_owned()
}

/// `tfe-server upgrade` on the server's directory.
pub(crate) fn upgrade(server: &Demo, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tfe-server"));
    command.args(["upgrade", "--data-dir"]).arg(server.data_directory()).args(arguments);
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Upgrades a server, which must work, and waits for the end of the process before.
pub(crate) fn upgraded(server: &mut Demo) {
    let outcome = upgrade(server, &[]).succeeded();
    let number = outcome.text.split_whitespace().nth(1).unwrap().parse().unwrap();
    server.replaced_by(number);
}

fn serve() -> Demo {
    Demo::serve(owned(&[("TFE_LOG", "info")]))
}

#[track_caller]
fn without_failures(seen: &Seen, what: &str) {
    let Seen { answers, refused, repeated, failures, gap } = seen;
    eprintln!(
        "{what}: {answers} answers, {} failures, {refused} refused connections, {repeated} requests repeated elsewhere, longest gap {} ms",
        failures.len(),
        gap.as_millis()
    );
    assert!(failures.is_empty(), "{:?}", failures.first());
    assert!(*answers >= CLIENTS, "{seen:?}");
}

#[test]
fn nobody_notices_an_upgrade() {
    let mut server = serve();
    let load = Load::on(&[&server], "/api/v2/account/details");
    for _ in 0..3 {
        upgraded(&mut server);
    }
    let seen = load.end();
    without_failures(&seen, "3 upgrades of a single node");
    assert_eq!(seen.refused, 0);
}

#[test]
fn a_slow_upload_crosses_an_upgrade() {
    let mut server = serve();
    let Announced { configuration, url, archive, .. } = announced(&server, "slow");
    let archive = fs::read(archive).unwrap();
    let (listen, path) = (address(&server), url.split_once("://").unwrap().1.split_once('/').unwrap().1.to_owned());
    let mut connection = TcpStream::connect(&listen).unwrap();
    connection.set_read_timeout(Some(REQUEST_TIMEOUT)).unwrap();
    let head = format!("PUT /{path} HTTP/1.1\r\nHost: {listen}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n", archive.len());
    connection.write_all(head.as_bytes()).unwrap();
    let mut begun = String::new();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    reader.read_line(&mut begun).unwrap();
    assert!(begun.contains("100"), "{begun}");
    reader.read_line(&mut begun).unwrap();
    let sending = thread::spawn(move || {
        for piece in archive.chunks(archive.len().div_ceil(PIECES as usize)) {
            thread::sleep(SLOW_UPLOAD / PIECES);
            connection.write_all(piece).unwrap();
        }
        answer(&mut reader).unwrap().0
    });
    upgraded(&mut server);
    assert_eq!(sending.join().unwrap(), 200);
    let shown = server.get(&format!("/api/v2/configuration-versions/{configuration}"));
    assert_eq!(shown["data"]["attributes"]["status"], "uploaded", "{shown}");
}

#[test]
fn a_process_that_was_replaced_ends_when_it_is_asked_to_though_a_client_is_not_done() {
    let mut server = serve();
    let Announced { url, .. } = announced(&server, "never-done");
    let (listen, path) = (address(&server), url.split_once("://").unwrap().1.split_once('/').unwrap().1.to_owned());
    let mut connection = BufReader::new(TcpStream::connect(&listen).unwrap());
    let head = format!("PUT /{path} HTTP/1.1\r\nHost: {listen}\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n");
    connection.get_mut().write_all(head.as_bytes()).unwrap();
    let mut begun = String::new();
    connection.read_line(&mut begun).unwrap();
    let before = server.id();
    let outcome = upgrade(&server, &[]).succeeded();
    let successor = outcome.text.split_whitespace().nth(1).unwrap().parse().unwrap();
    send(before, Signal::SIGTERM);
    server.replaced_by(successor);
}

#[test]
fn an_apply_goes_on_in_an_upgrade() {
    let mut server = serve();
    let run = in_the_middle(&server, "upgraded").1;
    upgraded(&mut server);
    go(&server);
    let ended = server.run_until("upgraded", &["applied", "errored", "canceled"]);
    assert_eq!(ended["attributes"]["status"], "applied", "{ended}");
    assert_eq!(held(&server, "upgraded").len(), 5);
    let log = log(&server, &run);
    assert!(log.starts_with('\u{2}') && log.ends_with('\u{3}'), "{log}");
    for once in ["waiting-for-go", "went-on", "\"type\":\"change_summary\""] {
        assert!(log.contains(once), "{once} is missing in {log}");
    }
    assert_eq!(log.matches("\"type\":\"change_summary\"").count(), 1, "{log}");
}

#[test]
fn a_successor_that_cannot_serve_changes_nothing() {
    let server = serve();
    let load = Load::on(&[&server], "/api/v2/account/details");
    upgrade(&server, &["--binary", "/bin/false"]).failed().shows("ended with exit status: 1 before it was ready");
    upgrade(&server, &["--binary", "/nowhere/tfe-server"]).failed().shows("cannot be started");
    // One that says why.
    let reason = server.home.path().join("reason");
    fs::write(&reason, "#!/bin/sh\necho 'the stars are wrong' >&0\n").unwrap();
    fs::set_permissions(&reason, fs::Permissions::from_mode(0o755)).unwrap();
    upgrade(&server, &["--binary", reason.to_str().unwrap()]).failed().shows("the stars are wrong");
    refused(&server);
    without_failures(&load.end(), "3 failed upgrades");
    assert!(server.said().contains("the server was not replaced and goes on"));
}

#[test]
fn a_program_that_does_not_fit_the_data_changes_nothing() {
    let server = serve();
    // What a newer program would note.
    let records = server.data_directory().join("records.sqlite");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", records.display())).await.unwrap();
        for (name, value) in [("format", "99"), ("format oldest", "98"), ("format release", "9.8.7")] {
            sqlx::query("UPDATE meta SET definition = $1 WHERE name = $2").bind(value).bind(name).execute(&pool).await.unwrap();
        }
        pool.close().await;
    });
    upgrade(&server, &[]).failed().shows("9.8.7 wrote it in format 99").shows("nothing was changed; start 9.8.7 or newer");
    assert_eq!(server.answer("GET", "/api/v2/account/details", &Value::Null).0, 200, "the server that was there goes on");
}

#[test]
fn a_second_server_is_refused_before_during_and_after_an_upgrade() {
    let mut server = serve();
    let is_over = AtomicBool::new(false);
    let directory = server.data_directory();
    thread::scope(|scope| {
        let intruder = scope.spawn(|| {
            let mut attempts = 0;
            while !is_over.load(Ordering::Relaxed) {
                second(&directory).failed().shows("is in use by another server");
                attempts += 1;
            }
            attempts
        });
        for _ in 0..3 {
            upgraded(&mut server);
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(intruder.join().unwrap() > 3);
    });
    refused(&server);
}

pub(crate) fn refused(server: &Demo) {
    second(&server.data_directory()).failed().shows("is in use by another server");
}

/// A plain start on a directory.
fn second(directory: &Path) -> Outcome {
    let mut second = Command::new(env!("CARGO_BIN_EXE_tfe-server"));
    second.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(directory);
    finish(second.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

#[test]
fn an_upgrade_can_wait_for_the_jobs_at_work() {
    let mut server = serve();
    let _ = in_the_middle(&server, "awaited");
    let mut asking = Command::new(env!("CARGO_BIN_EXE_tfe-server"));
    asking.args(["upgrade", "--when-idle", "--data-dir"]).arg(server.data_directory()).stderr(Stdio::piped());
    let mut asking = asking.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(asking.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "waiting for 1 jobs\n");
    // Meanwhile nothing new begins here.
    let project = server.project("queued-meanwhile", "resource \"terraform_data\" \"a\" {}\n");
    project.init();
    let plan = project.start(&["plan"]);
    server.run_until("queued-meanwhile", &["plan_queued"]);
    go(&server);
    line.clear();
    said.read_line(&mut line).unwrap();
    assert!(asking.wait().unwrap().success(), "{line}");
    finish(plan).succeeded();
    assert_eq!(server.run_until("awaited", &["applied", "errored"])["attributes"]["status"], "applied");
    let number = line.split_whitespace().nth(1).unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    drop(project);
    server.replaced_by(number);
}

#[test]
fn queued_runs_keep_their_order() {
    const RUNS: usize = 50;
    let mut server = Demo::serve(owned(&[("TFE_LOG", "info"), ("TFE_CAPACITY_CONCURRENCY", "1")]));
    let first = in_the_middle(&server, "first").1;
    let queued: Vec<String> = {
        let (workspace, configuration) = uploaded(&server, "many");
        (0..RUNS).map(|number| queue(&server, &workspace, &configuration, number)).collect()
    };
    upgraded(&mut server);
    go(&server);
    until("the first run to end", || {
        let shown = server.get(&format!("/api/v2/runs/{}", first["id"].as_str().unwrap()));
        (shown["data"]["attributes"]["status"] == "applied").then_some(())
    });
    let begun: Vec<String> = queued
        .iter()
        .map(|run| {
            until_within(RUN_PATIENCE, "a run to end", || {
                let shown = server.get(&format!("/api/v2/runs/{run}"));
                let attributes = &shown["data"]["attributes"];
                match attributes["status"].as_str()? {
                    "planned_and_finished" => Some(attributes["status-timestamps"]["planning-at"].as_str().unwrap().to_owned()),
                    "errored" | "canceled" => panic!("{shown}"),
                    _ => None,
                }
            })
        })
        .collect();
    assert!(begun.is_sorted(), "{begun:?}");
}

/// How long fifty plans, one after the other, may take.
const RUN_PATIENCE: Duration = Duration::from_mins(3);

/// A configuration that is about to be uploaded.
struct Announced {
    workspace: String,
    configuration: String,
    url: String,
    archive: PathBuf,
}

/// A workspace with an uploaded configuration.
fn uploaded(server: &Demo, name: &str) -> (String, String) {
    let Announced { workspace, configuration, url, archive } = announced(server, name);
    let mut put = Command::new("curl");
    put.args(["-sS", "-f", "-X", "PUT", "-T"]).arg(&archive).arg(url);
    assert!(put.stdout(Stdio::null()).status().unwrap().success());
    (workspace, configuration)
}

/// A workspace, and a configuration for it.
fn announced(server: &Demo, name: &str) -> Announced {
    let body = json!({ "data": { "type": "workspaces", "attributes": { "name": name } } });
    let made = server.post(&format!("/api/v2/organizations/{}/workspaces", server.text("organization")), &body);
    let workspace = made["data"]["id"].as_str().unwrap().to_owned();
    let body = json!({ "data": { "type": "configuration-versions", "attributes": { "auto-queue-runs": false, "speculative": true } } });
    let made = server.post(&format!("/api/v2/workspaces/{workspace}/configuration-versions"), &body);
    let archive = server.home.path().join("many.tar.gz");
    fs::write(server.home.path().join("main.tf"), "resource \"terraform_data\" \"a\" {}\n").unwrap();
    assert!(Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(server.home.path()).arg("main.tf").status().unwrap().success());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Announced { workspace, configuration: text(&made["data"]["id"]), url: text(&made["data"]["attributes"]["upload-url"]), archive }
}

fn queue(server: &Demo, workspace: &str, configuration: &str, number: usize) -> String {
    let body = json!({ "data": {
        "type": "runs",
        "attributes": { "plan-only": true, "message": number.to_string() },
        "relationships": {
            "workspace": { "data": { "type": "workspaces", "id": workspace } },
            "configuration-version": { "data": { "type": "configuration-versions", "id": configuration } },
        },
    } });
    let made: Value = server.post("/api/v2/runs", &body);
    made["data"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
}

#[test]
fn a_killed_server_is_back_at_once() {
    let mut server = serve();
    let listen = address(&server);
    let load = Load::on(&[&server], "/api/v2/account/details");
    let mut times = Vec::new();
    for _ in 0..3 {
        let killed = Instant::now();
        // What a supervisor does: it sees the end and starts again.
        server.kill();
        server.serve_again_at(&listen);
        let mut client = Client {
            servers: vec![listen.clone()],
            path: "/api/v2/account/details".to_owned(),
            token: server.text("token").to_owned(),
            connection: None,
        };
        until_within(RECOVERY_PATIENCE, "the next answer", || client.ask(&mut Seen::default()).ok());
        times.push(killed.elapsed().as_millis());
    }
    load.end();
    eprintln!("kill -9 of a single node: next answer after {times:?} ms");
}

/// Two nodes of one installation; the database goes after them.
fn two_nodes() -> Option<([Demo; 2], Database)> {
    let database = Database::create()?;
    let mut settings = external(&database.address, &database.name)?;
    settings.extend(owned(&[("TFE_LOG", "info")]));
    let first = Demo::serve(settings.clone());
    let second = first.join(settings);
    Some(([first, second], database))
}

#[test]
fn a_killed_node_of_two_costs_no_idempotent_request() {
    let Some((mut nodes, _database)) = two_nodes() else { return };
    let load = Load::on(&[&nodes[0], &nodes[1]], "/api/v2/account/details");
    for _ in 0..2 {
        for node in &mut nodes {
            let listen = address(node);
            node.kill();
            node.serve_again_at(&listen);
        }
    }
    without_failures(&load.end(), "4 kills of one node of two");
}

#[test]
fn nodes_are_rolled_without_a_failed_request() {
    let Some((mut nodes, _database)) = two_nodes() else { return };
    let load = Load::on(&[&nodes[0], &nodes[1]], "/api/v2/account/details");
    for node in &mut nodes {
        let listen = address(node);
        send(node.id(), Signal::SIGTERM);
        assert!(node.wait().success());
        node.serve_again_at(&listen);
    }
    nodes.iter_mut().for_each(upgraded);
    without_failures(&load.end(), "2 nodes rolled, and upgraded in place");
}
