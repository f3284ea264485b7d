//! The database fails over to its standby while people work: nothing that was acknowledged is lost, no run gets stuck,
//! and nobody has to do anything. `PostgreSQL` replicates synchronously; without that it may lose what it acknowledged.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tfe_storage::testing::proxy::Proxy;

use crate::{
    harness::{Demo, until},
    services::{Settings, external, program, psql, variable},
};

const ROUNDS: usize = 20;
/// How long people work before and after each failover.
const WORK: Duration = Duration::from_millis(700);
/// Most workspaces in one page of a list.
const PAGE: usize = 100;
/// How often a database is started with another port.
const START_ATTEMPTS: usize = 5;

#[test]
fn nothing_acknowledged_is_lost_and_no_run_is_stuck_in_twenty_failovers() {
    if variable("TFE_TEST_POSTGRES").is_none() {
        return;
    }
    let cluster = Cluster::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let proxy = runtime.block_on(Proxy::start(cluster.primary.address())).unwrap();
    let Some(settings) = settings(&proxy) else { return };
    let demo = Demo::serve(settings);
    let (workspace, configuration) = prepare(&demo);
    let mut cluster = cluster;
    let work = Work::default();
    thread::scope(|scope| {
        for worker in 0..2 {
            let (demo, work) = (&demo, &work);
            scope.spawn(move || work.create_workspaces(demo, worker));
        }
        let (demo, work) = (&demo, &work);
        scope.spawn(move || work.queue_runs(demo, &workspace, &configuration));
        let rounds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 1..=ROUNDS {
                thread::sleep(WORK);
                let before = work.acknowledged.lock().unwrap().len();
                cluster.fail_over(&proxy);
                until(&format!("work after failover {round}"), || (work.acknowledged.lock().unwrap().len() > before + 1).then_some(()));
            }
        }));
        work.over.store(true, Ordering::Relaxed);
        rounds.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let acknowledged = work.acknowledged.into_inner().unwrap();
    let present = names(&demo);
    let lost: Vec<_> = acknowledged.difference(&present).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged workspaces are lost: {lost:?}", lost.len(), acknowledged.len());
    let runs = work.runs.load(Ordering::Relaxed);
    assert!(acknowledged.len() > ROUNDS * 2 && runs > 0, "{} workspaces and {runs} runs", acknowledged.len());
    until("every run to end", || demo.runs("queue").iter().all(is_over).then_some(()));
    assert!(demo.runs("queue").iter().all(|run| run["attributes"]["status"] == "applied"), "no run was lost");
    eprintln!("{ROUNDS} failovers, {} acknowledged workspaces and {runs} acknowledged runs, none lost", acknowledged.len());
}

/// What people do meanwhile.
#[derive(Default)]
struct Work {
    over: AtomicBool,
    acknowledged: Mutex<BTreeSet<String>>,
    runs: AtomicUsize,
}

impl Work {
    fn create_workspaces(&self, demo: &Demo, worker: usize) {
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let name = format!("w-{worker}-{number}");
            let body = json!({ "data": { "type": "workspaces", "attributes": { "name": name } } });
            let (status, _) = demo.answer("POST", "/api/v2/organizations/demo/workspaces", &body);
            if status == 201 {
                self.acknowledged.lock().unwrap().insert(name);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn queue_runs(&self, demo: &Demo, workspace: &str, configuration: &str) {
        while !self.over.load(Ordering::Relaxed) {
            let relationships = json!({
                "workspace": { "data": { "type": "workspaces", "id": workspace } },
                "configuration-version": { "data": { "type": "configuration-versions", "id": configuration } },
            });
            let body = json!({ "data": { "type": "runs", "attributes": { "auto-apply": true, "allow-empty-apply": true }, "relationships": relationships } });
            if demo.answer("POST", "/api/v2/runs", &body).0 == 201 {
                self.runs.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(Duration::from_secs(4));
        }
    }
}

/// A workspace with a configuration; their ids.
fn prepare(demo: &Demo) -> (String, String) {
    let project = demo.project("queue", "resource \"terraform_data\" \"a\" { input = timestamp() }");
    project.init();
    project.terraform(&["apply", "-auto-approve", "-no-color"]).succeeded();
    let run = demo.runs("queue")[0].clone();
    let configuration = run["relationships"]["configuration-version"]["data"]["id"].as_str().unwrap().to_owned();
    (demo.workspace("queue")["id"].as_str().unwrap().to_owned(), configuration)
}

pub(crate) fn is_over(run: &Value) -> bool {
    matches!(run["attributes"]["status"].as_str(), Some("applied" | "errored" | "canceled" | "discarded" | "planned_and_finished"))
}

fn names(demo: &Demo) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for number in 1.. {
        let path = format!("/api/v2/organizations/demo/workspaces?page%5Bsize%5D={PAGE}&page%5Bnumber%5D={number}");
        let page = demo.get(&path);
        let page = page["data"].as_array().unwrap();
        names.extend(page.iter().map(|workspace| workspace["attributes"]["name"].as_str().unwrap().to_owned()));
        if page.len() < PAGE {
            return names;
        }
    }
    names
}

fn settings(proxy: &Proxy) -> Option<Settings> {
    // The name is that of the database and of the place in the bucket.
    let name = format!("tfe_failover_{}", std::process::id());
    let mut settings = external(&proxy.address().to_string(), &name)?;
    settings.iter_mut().filter(|(key, _)| key == "TFE_DATABASE_NAME").for_each(|(_, value)| "postgres".clone_into(value));
    Some(settings)
}

/// A primary with a synchronous standby.
struct Cluster {
    standby: Server,
    primary: Server,
    made: usize,
    /// After the servers, which have their files there.
    home: TempDir,
}

/// One server of `PostgreSQL`.
pub(crate) struct Server {
    directory: PathBuf,
    port: u16,
}

impl Cluster {
    fn start() -> Self {
        let home = directory_of_postgres();
        let primary = Server::create(home.path());
        let mut standby = Server::copy(home.path(), 1, &primary);
        standby.start(home.path());
        let cluster = Self { home, primary, standby, made: 2 };
        cluster.replicate_synchronously();
        cluster
    }

    /// Kills the primary, promotes the standby, and makes a new standby for the next time.
    fn fail_over(&mut self, proxy: &Proxy) {
        self.primary.kill();
        proxy.switch(None);
        run(as_owner("pg_ctl").arg("-D").arg(&self.standby.directory).args(["-w", "promote"]));
        proxy.switch(Some(self.standby.address()));
        let mut next = Server::copy(self.home.path(), self.made, &self.standby);
        self.made += 1;
        next.start(self.home.path());
        let old = std::mem::replace(&mut self.primary, std::mem::replace(&mut self.standby, next));
        let _ = fs::remove_dir_all(&old.directory);
        self.replicate_synchronously();
    }

    /// From here on a commit is acknowledged when the standby has it.
    fn replicate_synchronously(&self) {
        let address = self.primary.address().to_string();
        until("the standby", || {
            (psql(&address, "postgres", "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'").trim() == "1").then_some(())
        });
        psql(&address, "postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        psql(&address, "postgres", "SELECT pg_reload_conf()");
        let is_synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        until("synchronous replication", || (psql(&address, "postgres", is_synchronous).trim() == "1").then_some(()));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = as_owner("pg_ctl").arg("-D").arg(&self.directory).args(["-m", "immediate", "-w", "stop"]).output();
    }
}

/// A directory that `PostgreSQL`'s own user may use.
pub(crate) fn directory_of_postgres() -> TempDir {
    let home = tempfile::Builder::new().prefix("tfe-cluster").tempdir_in("/tmp").unwrap();
    if nix::unistd::geteuid().is_root() {
        let status = Command::new("chown").args(["postgres:postgres"]).arg(home.path()).status().unwrap();
        assert!(status.success());
    }
    home
}

impl Server {
    /// A new one, running.
    pub(crate) fn create(home: &Path) -> Self {
        let mut server = Self::new(home, 0);
        run(as_owner("initdb").arg("-D").arg(&server.directory).args(["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"]));
        server.start(home);
        server
    }

    /// Kills it without a warning.
    pub(crate) fn kill(&self) {
        let postmaster = fs::read_to_string(self.directory.join("postmaster.pid")).unwrap();
        let pid: i32 = postmaster.lines().next().unwrap().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    }

    /// Starts it after it was killed; the first tries fail until the processes of the one before have ended.
    pub(crate) fn start_again(&self, home: &Path) {
        until("the database to start again", || self.try_start(home).then_some(()));
    }

    fn new(home: &Path, number: usize) -> Self {
        Self { directory: home.join(format!("server-{number}")), port: free_port() }
    }

    /// A standby of another server.
    fn copy(home: &Path, number: usize, of: &Server) -> Self {
        let server = Self::new(home, number);
        let port = of.port.to_string();
        run(as_owner("pg_basebackup")
            .args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-R", "-c", "fast", "-X", "stream", "-D"])
            .arg(&server.directory));
        // It must not wait for a standby of its own when it is promoted.
        let settings = server.directory.join("postgresql.auto.conf");
        let text = fs::read_to_string(&settings).unwrap();
        let kept: Vec<_> = text.lines().filter(|line| !line.starts_with("synchronous_standby_names")).collect();
        fs::write(&settings, kept.join("\n") + "\n").unwrap();
        server
    }

    /// Starts it for the first time. While its files were made somebody else may have taken the port that was free before.
    fn start(&mut self, home: &Path) {
        for _ in 0..START_ATTEMPTS {
            self.port = free_port();
            if self.try_start(home) {
                return;
            }
        }
        panic!("the database does not start");
    }

    fn try_start(&self, home: &Path) -> bool {
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=100 -c wal_retrieve_retry_interval=100ms",
            self.port,
            home.display()
        );
        let log = home.join(format!("log-{}", self.port));
        let mut command = as_owner("pg_ctl");
        command.arg("-D").arg(&self.directory).args(["-w", "-l"]).arg(log).args(["-o", &options, "start"]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status().unwrap().success()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }
}

/// A program of `PostgreSQL`, which refuses to be run by root.
fn as_owner(name: &str) -> Command {
    let mut command = program(name);
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// A port that nobody has now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(command: &mut Command) {
    let output = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
