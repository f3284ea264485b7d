//! What a lost machine costs: how much of what was acknowledged, and how long until it is back.
//!
//! First a server with a place for snapshots is killed under load and everything that it had is removed; one command restores it,
//! and every acknowledged workspace is looked for. Then an installation with half a gigabyte of blobs is restored, and the time is
//! compared with that of `sha256sum` over the same bytes in the same run. Needs release builds:
//!
//! ```sh
//! cargo build --release -p tfe-server -p tfe-cli && cargo bench -p tfe-benches --bench recovery
//! ```
#![expect(clippy::print_stdout, reason = "a measurement prints its figures")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tfe_core::{KINDS, blob::Blob, id::Id, installation::Installation, secret::Secret, time::Clock, time::Timestamp};
use tfe_storage::{
    Batch, Blobs, MemoryVault, StoreExt,
    migrate::Place,
    open_objects, open_store,
    snapshot::{self, CreateOptions, Repository, RepositorySecret},
};

const PASSWORD: &str = "correct horse battery staple";
/// How long the load goes on before the machine is lost.
const LOAD: Duration = Duration::from_secs(10);
/// Clients that create workspaces all the time.
const CLIENTS: usize = 4;
/// Blobs of the second part, and the length of each.
const BLOBS: usize = 64;
const BLOB_LENGTH: usize = 8 << 20;
/// Of how many restores the best counts; `sha256sum` gets as many.
const ROUNDS: usize = 3;
/// What the project promises: the age of the oldest acknowledged write that is lost, and the least speed against `sha256sum`.
const PROMISED_LOSS: Duration = Duration::from_secs(1);
const PROMISED_RATIO: f64 = 0.5;

fn main() {
    loss();
    speed();
}

fn loss() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::start(home.path());
    // The first snapshot is taken at once; from then on everything is shipped.
    while !home.path().join("backup/newest").exists() {
        thread::sleep(Duration::from_millis(20));
    }
    let acknowledged = Mutex::new(Vec::new());
    let begun = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (server, acknowledged) = (&server, &acknowledged);
            scope.spawn(move || {
                for number in 0.. {
                    let name = format!("client-{client}-{number}");
                    if begun.elapsed() > LOAD || !server.create_workspace(&name) {
                        return;
                    }
                    acknowledged.lock().expect("no panic").push((name, Instant::now()));
                }
            });
        }
    });
    let lost_at = Instant::now();
    server.kill();
    for name in ["data", "data.key"] {
        let path = home.path().join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.expect("what the machine had");
    }
    let begun = Instant::now();
    restore(home.path(), &home.path().join("backup"), "data");
    server.begin();
    let took = begun.elapsed();
    let there = server.workspaces();
    let acknowledged = acknowledged.into_inner().expect("no panic");
    let lost: Vec<_> = acknowledged.iter().filter(|(name, _)| !there.contains(name)).collect();
    let oldest = lost.iter().map(|(_, at)| lost_at.duration_since(*at)).max().unwrap_or_default();
    println!("{} workspaces acknowledged in {} s, then the machine was lost", acknowledged.len(), LOAD.as_secs());
    println!("lost                 {}", lost.len());
    println!("the oldest of these  {} ms before the loss, promised at most {}", oldest.as_millis(), PROMISED_LOSS.as_millis());
    println!("restored and served  after {} ms", took.as_millis());
}

fn speed() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let backup = home.path().join("backup");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(fill(home.path(), &backup));
    let megabytes = u32::try_from(BLOBS * BLOB_LENGTH / 1_000_000).expect("half a gigabyte");
    let (mut best, mut base) = (Duration::MAX, Duration::MAX);
    for round in 0..ROUNDS {
        let begun = Instant::now();
        let summed = Command::new("sh").arg("-c").arg("find \"$0\" -type f -print0 | xargs -0 sha256sum > /dev/null").arg(&backup).status();
        assert!(summed.expect("sha256sum").success(), "sha256sum");
        base = base.min(begun.elapsed());
        let begun = Instant::now();
        restore(home.path(), &backup, &format!("restored-{round}"));
        best = best.min(begun.elapsed());
        fs::remove_dir_all(home.path().join(format!("restored-{round}"))).expect("the restored data");
    }
    let rate = |took: Duration| f64::from(megabytes) / took.as_secs_f64();
    println!("{megabytes} MB of blobs restored at {:.0} MB/s; sha256sum over them {:.0} MB/s", rate(best), rate(base));
    println!("ratio {:.2}, promised at least {PROMISED_RATIO}", rate(best) / rate(base));
}

/// An installation with large blobs, and a snapshot of it.
async fn fill(home: &Path, backup: &Path) {
    let url = |path: &Path| format!("file://{}", path.display());
    let store = open_store(&format!("sqlite:{}", home.join("records").display()), KINDS).await.expect("a store");
    let objects = open_objects(&url(&home.join("blobs")), &[]).expect("a directory");
    let place = Place { store, objects, vault: Arc::new(MemoryVault::new().expect("a vault")) };
    let id = Installation::only_id();
    let signing_key = place.vault.seal(&Installation::SIGNING_KEY.context(&id), &[7; 32]).await.expect("a sealed key");
    let created_at = Now.now();
    let installation = Installation { id, created_at, name: "bench".to_owned(), signing_key, unfinished: false, restoration: None };
    place.store.commit(Batch::new().insert(&installation)).await.expect("an installation");
    let blobs = Blobs::new(place.objects.clone(), place.vault.clone());
    for number in 0..BLOBS {
        let id = Id::<Blob>::from(format!("blob-{number:08}").as_str());
        let blob = blobs.put_bytes(id, created_at, vec![u8::try_from(number).expect("few"); BLOB_LENGTH]).await.expect("a blob");
        place.store.commit(Batch::new().insert(&blob)).await.expect("its record");
    }
    let secret = RepositorySecret::Password(Secret::from(PASSWORD));
    let repository =
        Repository::open_or_create(open_objects(&url(backup), &[]).expect("a directory"), &secret).await.expect("a repository");
    let options = CreateOptions { clock: &Now, program: "bench", configuration: None, takes_over: false };
    snapshot::create(&repository, &place, KINDS, &options, &mut |_, _| {}).await.expect("a snapshot");
    assert!(place.store.find::<Blob>("blob-00000001").await.expect("the store").is_some(), "the blobs are there");
}

#[derive(Debug)]
struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

fn restore(home: &Path, backup: &Path, data: &str) {
    let mut command = Command::new(program("tfe-server"));
    command.arg("restore").arg("--from").arg(backup).arg("--data-dir").arg(home.join(data)).env("TFE_BACKUP_PASSWORD", PASSWORD);
    let output = command.output().expect("cargo build --release -p tfe-server -p tfe-cli comes first");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A server with a place for snapshots; killed with the value.
struct Server {
    home: PathBuf,
    address: String,
    token: String,
    process: Child,
}

impl Server {
    fn start(home: &Path) -> Self {
        let process = begin(home, "127.0.0.1:0");
        let address = address(home);
        let mut bootstrap = Command::new(program("tfe"));
        bootstrap.args(["admin", "bootstrap", "--url", &format!("http://{address}"), "--data-dir"]).arg(home.join("data"));
        assert!(bootstrap.output().expect("tfe runs").status.success(), "the first administrator was not made");
        let access = fs::read(home.join("data/demo.json")).expect("demo.json");
        let access: Value = serde_json::from_slice(&access).expect("it is JSON");
        Self { home: home.to_owned(), address, token: access["token"].as_str().expect("a token").to_owned(), process }
    }

    fn begin(&mut self) {
        fs::remove_file(self.home.join("log")).expect("the log");
        self.process = begin(&self.home, &self.address);
        address(&self.home);
    }

    fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    fn create_workspace(&self, name: &str) -> bool {
        let body = json!({ "data": { "type": "workspaces", "attributes": { "name": name } } });
        self.ask("POST", "organizations/demo/workspaces", &body.to_string())["data"]["id"].is_string()
    }

    fn workspaces(&self) -> std::collections::BTreeSet<String> {
        let mut names = std::collections::BTreeSet::new();
        for page in 1.. {
            let answer = self.ask("GET", &format!("organizations/demo/workspaces?page%5Bsize%5D=100&page%5Bnumber%5D={page}"), "");
            let items = answer["data"].as_array().cloned().unwrap_or_default();
            names.extend(items.iter().filter_map(|item| Some(item["attributes"]["name"].as_str()?.to_owned())));
            if items.len() < 100 {
                break;
            }
        }
        names
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let mut command = Command::new("curl");
        command.args(["-sS", "-X", method, "-H", "Content-Type: application/vnd.api+json", "-K", "-"]);
        command.arg(format!("http://{}/api/v2/{path}", self.address));
        if !body.is_empty() {
            command.args(["--data-binary", body]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl");
        let header = format!("header = \"Authorization: Bearer {}\"\n", self.token);
        child.stdin.take().expect("a pipe").write_all(header.as_bytes()).expect("curl reads");
        serde_json::from_slice(&child.wait_with_output().expect("curl").stdout).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn address(home: &Path) -> String {
    loop {
        let said = fs::read_to_string(home.join("log")).unwrap_or_default();
        if let Some(address) = said.lines().find_map(|line| line.strip_prefix("serving http://")) {
            return address.to_owned();
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn begin(home: &Path, listen: &str) -> Child {
    let log = fs::File::create(home.join("log")).expect("a log");
    let mut command = Command::new(program("tfe-server"));
    command.args(["serve", "--listen", listen, "--data-dir"]).arg(home.join("data")).arg("--work-dir").arg(home.join("work"));
    fs::create_dir_all(home.join("backup")).expect("a place for snapshots");
    command.env("TFE_BACKUP_URL", home.join("backup")).env("TFE_BACKUP_PASSWORD", PASSWORD);
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    started.expect("cargo build --release -p tfe-server -p tfe-cli comes first")
}

/// A release build beside this program's own directory.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    own.ancestors().nth(2).expect("it lies in target/release/deps").join(name)
}
