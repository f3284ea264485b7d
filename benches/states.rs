//! What a large state costs on its way through the server, compared with the object store alone.
//!
//! A state of 100 MB is uploaded and downloaded through a server whose blobs are in an S3-compatible store, and the same
//! bytes are put to and got from the same store directly, in turn and several times. The figures are the ratios of the
//! medians, direct by server, and how much the server's memory grew at its highest. Needs the store and release builds:
//!
//! ```sh
//! scripts/services up
//! cargo build --release -p tfe-server -p tfe-cli && cargo bench -p tfe-benches --bench states
//! ```
#![expect(clippy::print_stdout, reason = "a measurement prints its figures")]

use std::{
    fmt::Write,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::StreamExt;
use md5::{Digest, Md5};
use object_store::{ObjectStore, ObjectStoreExt, path::Path as ObjectPath};
use serde_json::{Value, json};

/// How often each is measured.
const ROUNDS: u64 = 7;
/// Resources in the state, and bytes of each: 100 MB together.
const RESOURCES: usize = 1_000;
const RESOURCE_LENGTH: usize = 100_000;
/// Bytes of a part of a direct upload, as the server has them.
const PART_LENGTH: usize = 8 << 20;
/// The ratios and the memory that the project promises.
const PROMISED_RATIO: f64 = 0.7;
const PROMISED_MIB: u64 = 64;

fn main() {
    let environment = services();
    let home = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = Server::start(home.path(), &environment);
    let objects = direct_store(&environment);
    runtime.block_on(measure(&server, &objects));
}

async fn measure(server: &Server, objects: &Arc<dyn ObjectStore>) {
    let http = reqwest::Client::new();
    let workspace = server.workspace(&http).await;
    // Once before, so that neither side pays for the first connection.
    round(server, &http, &workspace, objects, 1).await;
    let before = server.memory("VmRSS");
    server.forget_highest_memory();
    let mut times: [Vec<Duration>; 4] = Default::default();
    for number in 2..ROUNDS + 2 {
        let measured = round(server, &http, &workspace, objects, number).await;
        times.iter_mut().zip(measured).for_each(|(times, time)| times.push(time));
    }
    let grown = server.memory("VmHWM").saturating_sub(before);
    let [put, upload, get, download] = times.map(median);
    println!("{:<10} {:>10} {:>10} {:>7}", "100 MB", "direct ms", "server ms", "ratio");
    for (name, direct, through) in [("upload", put, upload), ("download", get, download)] {
        let ratio = direct.as_secs_f64() / through.as_secs_f64();
        println!("{name:<10} {:>10} {:>10} {ratio:>7.2}", direct.as_millis(), through.as_millis());
    }
    println!("memory of the server: {before} MiB before, {grown} MiB more at its highest");
    println!("promised: ratios of at least {PROMISED_RATIO}, less than {PROMISED_MIB} MiB more");
}

/// Direct put, upload, direct get, download.
async fn round(server: &Server, http: &reqwest::Client, workspace: &str, objects: &Arc<dyn ObjectStore>, serial: u64) -> [Duration; 4] {
    let state = state(serial);
    let path = ObjectPath::from(format!("direct-{serial}"));
    let put = timed(put(objects, &path, &state)).await.0;
    let (version, upload_url) = server.announce(http, workspace, serial, &state).await;
    let body = state.clone();
    let upload = timed(async {
        let answer = http.put(upload_url).body(body).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap_or_default());
    });
    let upload = upload.await.0;
    let download_url = server.download_url(http, &version).await;
    let get = timed(async {
        let mut stream = objects.get(&path).await.expect("the object").into_stream();
        let mut length = 0;
        while let Some(bytes) = stream.next().await {
            length += bytes.expect("all of the object").len();
        }
        assert_eq!(length, state.len());
    });
    let get = get.await.0;
    let download = timed(async {
        let mut stream = http.get(download_url).send().await.expect("an answer").bytes_stream();
        let mut length = 0;
        while let Some(bytes) = stream.next().await {
            length += bytes.expect("all of the state").len();
        }
        assert_eq!(length, state.len());
    });
    [put, upload, get, download.await.0]
}

async fn put(objects: &Arc<dyn ObjectStore>, path: &ObjectPath, content: &bytes::Bytes) {
    let mut upload = objects.put_multipart(path).await.expect("an upload");
    for start in (0..content.len()).step_by(PART_LENGTH) {
        let part = content.slice(start..(start + PART_LENGTH).min(content.len()));
        upload.put_part(part.into()).await.expect("a part");
    }
    upload.complete().await.expect("the object");
}

async fn timed<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let begun = Instant::now();
    let done = work.await;
    (begun.elapsed(), done)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// A state as terraform writes it, with attributes that do not repeat.
fn state(serial: u64) -> bytes::Bytes {
    let mut number = serial;
    let mut resources = Vec::with_capacity(RESOURCES);
    for index in 0..RESOURCES {
        let mut text = String::with_capacity(RESOURCE_LENGTH + 16);
        while text.len() < RESOURCE_LENGTH {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let _ = write!(text, "{number:016x}");
        }
        resources.push(json!({
            "mode": "managed", "type": "terraform_data", "name": format!("r{index}"), "provider": "provider[\"terraform.io/builtin/terraform\"]",
            "instances": [{ "schema_version": 0, "attributes": { "input": text }, "sensitive_attributes": [] }],
        }));
    }
    let state = json!({
        "version": 4, "terraform_version": "1.11.4", "serial": serial, "lineage": "bench", "outputs": {}, "resources": resources,
    });
    bytes::Bytes::from(state.to_string())
}

/// The settings of the running services.
fn services() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(root.join("scripts/services")).args(["env", "external"]).output().expect("scripts/services runs");
    assert!(output.status.success(), "start the services first: scripts/services up");
    let text = String::from_utf8(output.stdout).expect("settings are UTF-8");
    let lines = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
    let settings = lines.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()));
    settings.filter(|(name, _)| name.starts_with("TFE_OBJECT_STORAGE_")).collect()
}

fn direct_store(environment: &[(String, String)]) -> Arc<dyn ObjectStore> {
    let value = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap_or_default();
    let url = format!(
        "s3://{}/bench-direct?endpoint={}&region=us-east-1&aws_allow_http=true&access_key_id=test&secret_access_key=test",
        value("TFE_OBJECT_STORAGE_S3_BUCKET"),
        value("TFE_OBJECT_STORAGE_S3_ENDPOINT"),
    );
    tfe_storage::open_objects(&url, &[]).expect("the store opens")
}

/// A server in release mode with its blobs in the object store.
struct Server {
    process: Child,
    url: String,
    token: String,
}

impl Server {
    fn start(home: &Path, environment: &[(String, String)]) -> Self {
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release");
        let (data, log) = (home.join("data"), home.join("log"));
        let mut command = Command::new(programs.join("tfe-server"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data);
        command.envs(environment.iter().map(|(name, value)| (name, value))).env("TFE_OBJECT_STORAGE_PREFIX", "bench-server");
        let process = command.stdin(Stdio::null()).stderr(fs::File::create(&log).expect("a log")).spawn();
        let process = process.expect("cargo build --release -p tfe-server -p tfe-cli comes first");
        let url = loop {
            let said = fs::read_to_string(&log).expect("the log");
            if let Some(url) = said.lines().find_map(|line| line.strip_prefix("serving ")) {
                break url.to_owned();
            }
            thread::sleep(Duration::from_millis(20));
        };
        let bootstrap = Command::new(programs.join("tfe")).args(["admin", "bootstrap", "--url", &url, "--data-dir"]).arg(&data).output();
        assert!(bootstrap.expect("tfe runs").status.success(), "the first administrator was not made");
        let access: Value = serde_json::from_slice(&fs::read(data.join("demo.json")).expect("demo.json")).expect("it is JSON");
        Self { process, url, token: access["token"].as_str().expect("a token").to_owned() }
    }

    async fn workspace(&self, http: &reqwest::Client) -> String {
        let body = json!({ "data": { "type": "workspaces", "attributes": { "name": "large", "execution-mode": "local" } } });
        let made = self.post(http, "/api/v2/organizations/demo/workspaces", &body).await;
        let id = made["data"]["id"].as_str().expect("a workspace").to_owned();
        self.post(http, &format!("/api/v2/workspaces/{id}/actions/lock"), &json!({})).await;
        id
    }

    /// Announces a state version; its id, and where its content goes.
    async fn announce(&self, http: &reqwest::Client, workspace: &str, serial: u64, state: &[u8]) -> (String, String) {
        let md5 = Md5::digest(state).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let attributes = json!({ "serial": serial, "md5": md5, "lineage": "bench" });
        let body = json!({ "data": { "type": "state-versions", "attributes": attributes } });
        let made = self.post(http, &format!("/api/v2/workspaces/{workspace}/state-versions"), &body).await;
        let text =
            |pointer: &str| made.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {made}")).to_owned();
        (text("/data/id"), text("/data/attributes/hosted-state-upload-url"))
    }

    /// Where the content of a version is, once it has come.
    async fn download_url(&self, http: &reqwest::Client, version: &str) -> String {
        let request = http.get(format!("{}/api/v2/state-versions/{version}", self.url)).bearer_auth(&self.token);
        let shown: Value = request.send().await.expect("an answer").json().await.expect("a document");
        let url = shown["data"]["attributes"]["hosted-state-download-url"].as_str();
        url.unwrap_or_else(|| panic!("no address in {shown}")).to_owned()
    }

    async fn post(&self, http: &reqwest::Client, path: &str, body: &Value) -> Value {
        let request = http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).body(body.to_string());
        request.send().await.expect("an answer").json().await.expect("a document")
    }

    /// A line of the process's memory, in MiB.
    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("the server lives");
        let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel says how much memory it has");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).expect("a number") >> 10
    }

    fn forget_highest_memory(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").expect("the kernel starts counting anew");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
