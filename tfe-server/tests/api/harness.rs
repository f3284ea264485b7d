//! A server on a free port with everything embedded in a temporary directory, and a client for it.

use std::{sync::Arc, time::Duration};

use object_store::ObjectStore;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tfe_core::secret::Secret;
use tfe_runner::{IsolationConfig, RunnerConfig, Timeouts, tools::ToolSettings};
use tfe_server::{App, Backends, FirstAdmin, Server, Settings, embedded::KeySource, first_admin};
use tfe_storage::{
    migrate::Place,
    sql::SqlStore,
    testing::explaining::{Databases, Explaining},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A running server; ends with the value.
pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) app: App,
    objects: Arc<dyn ObjectStore>,
    store: Arc<Explaining>,
    _directory: TempDir,
    http: reqwest::Client,
    shutdown: CancellationToken,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl TestServer {
    /// Starts one with the organization `acme` and the user `admin`, password `correct horse`.
    pub(crate) async fn start() -> Self {
        Self::start_with(true, Settings::default()).await
    }

    /// The same without a runner: runs stay queued.
    pub(crate) async fn start_idle() -> Self {
        Self::start_limited(Settings::default()).await
    }

    /// The same with other limits.
    pub(crate) async fn start_limited(settings: Settings) -> Self {
        Self::start_with(false, settings).await
    }

    async fn start_with(runner: bool, settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let backends = Backends::embedded(&data, KeySource::File(directory.path().join("data.key"))).await.unwrap();
        let objects = backends.objects.clone();
        let store = Arc::new(Explaining::new(backends.store.clone(), databases(directory.path()).await));
        let mut builder = Server::builder().backends(Backends { store: store.clone(), ..backends }).settings(settings);
        if runner {
            builder = builder.runner(RunnerConfig {
                name: "test".to_owned(),
                work_root: directory.path().join("work"),
                spool_root: directory.path().join("data/spool"),
                supervisor: vec![env!("CARGO_BIN_EXE_tfe-server").into(), "supervise".into()],
                tool_paths: Vec::new(),
                tools: ToolSettings { cache: Some(directory.path().join("data/tools")), ..ToolSettings::default() },
                cli_config: None,
                plugins: None,
                concurrency: 4,
                courier: None,
                timeouts: Timeouts::default(),
                isolation: IsolationConfig::none(),
            });
        }
        let server = builder.build().await.unwrap();
        let first = FirstAdmin {
            username: "admin".to_owned(),
            email: "admin@example.com".to_owned(),
            password: Some(Secret::from("correct horse")),
            organization: "acme".to_owned(),
        };
        let token = first_admin(server.app(), &first).await.unwrap().expect("the directory is new").expose().to_owned();
        let app = server.app().clone();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        tokio::spawn(server.serve(listener, None, shutdown.clone()));
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build().unwrap();
        Self { url, token, app, objects, store, _directory: directory, http, shutdown }
    }

    /// Where everything is.
    pub(crate) fn place(&self) -> Place {
        Place { store: self.app.store.clone(), objects: self.objects.clone(), vault: self.app.vault.clone() }
    }

    /// A request with the administrator's token; `path` may be a whole URL.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    /// A request without a token.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        self.http.request(method, url)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).body(body.to_string())).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).body(body.to_string())).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// Uploads to a signed address, as clients do: without a token.
    pub(crate) async fn put(&self, url: &str, body: Vec<u8>) -> Answer {
        Answer::of(self.anonymous(Method::PUT, url).body(body)).await
    }

    /// A new workspace in `acme`; its id.
    pub(crate) async fn workspace(&self, name: &str) -> String {
        self.workspace_with(json!({ "name": name })).await
    }

    /// A new workspace with these attributes; its id.
    pub(crate) async fn workspace_with(&self, attributes: Value) -> String {
        let body = json!({ "data": { "type": "workspaces", "attributes": attributes } });
        self.post("/api/v2/organizations/acme/workspaces", body).await.expect(201).id()
    }

    /// Uploads a configuration of one file; the configuration version's id.
    pub(crate) async fn configuration(&self, workspace: &str, main: &str, speculative: bool) -> String {
        let attributes = json!({ "auto-queue-runs": false, "speculative": speculative });
        let body = json!({ "data": { "type": "configuration-versions", "attributes": attributes } });
        let version = self.post(&format!("/api/v2/workspaces/{workspace}/configuration-versions"), body).await.expect(201);
        let upload = version.text_at("/data/attributes/upload-url");
        self.put(&upload, archive(&[("main.tf", main)])).await.expect(200);
        version.id()
    }

    /// Queues a run; its id.
    pub(crate) async fn run(&self, workspace: &str, configuration: &str, attributes: Value) -> String {
        self.post("/api/v2/runs", run_body(workspace, configuration, attributes)).await.expect(201).id()
    }

    /// Waits until the run has one of these statuses, and gives its document.
    pub(crate) async fn run_until(&self, run: &str, statuses: &[&str]) -> Answer {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.get(&format!("/api/v2/runs/{run}")).await.expect(200);
            let status = answer.text_at("/data/attributes/status");
            if statuses.contains(&status.as_str()) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{run} is still {status}, wanted {statuses:?}: {}", answer.text);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
        // Every query of every test goes by an index, in both databases.
        let problems = self.store.problems();
        assert!(problems.is_empty() || std::thread::panicking(), "{}", problems.join("\n"));
    }
}

/// Databases to be asked how they would answer: an empty file, and an empty database of this process in the server
/// that `TFE_TEST_POSTGRES` names.
async fn databases(directory: &std::path::Path) -> Databases {
    let sqlite = SqlStore::<sqlx::Sqlite>::open(&directory.join("plans.sqlite"), tfe_core::KINDS).await.unwrap();
    Databases { sqlite: Arc::new(sqlite), postgres: postgres().await.map(Arc::new) }
}

#[expect(clippy::print_stderr, reason = "a skipped check must say so")]
async fn postgres() -> Option<SqlStore<sqlx::Postgres>> {
    let Ok(url) = std::env::var("TFE_TEST_POSTGRES") else {
        assert!(std::env::var_os("TFE_TEST_REQUIRE").is_none(), "TFE_TEST_POSTGRES must be set; scripts/test does that");
        eprintln!("the plans of PostgreSQL are not checked: TFE_TEST_POSTGRES is not set");
        return None;
    };
    let name = format!("tfe_api_plans_{}", std::process::id());
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
    // Another test of this process may have made it.
    let _ = sqlx::Executor::execute(&mut connection, sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await;
    let (server, _) = url.rsplit_once('/').unwrap();
    Some(SqlStore::<sqlx::Postgres>::connect(format!("{server}/{name}").parse().unwrap(), 2, tfe_core::KINDS).await.unwrap())
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status, headers, text, json }
    }

    /// Requires a status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// Requires a status and a text in the first error's detail.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, detail: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.text_at("/errors/0/status"), status.to_string());
        assert!(answer.text.contains(detail), "{detail:?} is not in {}", answer.text);
        answer
    }

    /// The id of the resource.
    #[track_caller]
    pub(crate) fn id(&self) -> String {
        self.text_at("/data/id")
    }

    /// The text at a JSON pointer.
    #[track_caller]
    pub(crate) fn text_at(&self, pointer: &str) -> String {
        let value = self.json.pointer(pointer).and_then(Value::as_str);
        value.unwrap_or_else(|| panic!("no text at {pointer} in {}", self.text)).to_owned()
    }
}

/// The document that queues a run.
pub(crate) fn run_body(workspace: &str, configuration: &str, attributes: Value) -> Value {
    json!({ "data": {
        "type": "runs",
        "attributes": attributes,
        "relationships": {
            "workspace": { "data": { "type": "workspaces", "id": workspace } },
            "configuration-version": { "data": { "type": "configuration-versions", "id": configuration } },
        },
    } })
}

/// A gzipped tar of these files.
pub(crate) fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}
