//! Two servers, three workers, a database, two brokers, a network between them, and what happens to these.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tfe_storage::testing::proxy::Proxy;
use tokio::runtime::Runtime;

use super::{Clients, Load};
use crate::{
    failover::{Server, directory_of_postgres},
    fleet::Worker,
    harness::{Demo, send, until},
    services::{delete_queue, external, owned, psql, queue_of_hints, variable},
};

const TOKEN: (&str, &str) = ("TFE_WORKER_TOKEN", "the-fleets-own-token");
pub(crate) const WORKSPACES: usize = 8;
const WORKERS: usize = 3;
/// Two objects that are made anew with each run, and an output of known lines.
const CONFIGURATION: &str = r#"
resource "terraform_data" "a" {
  count            = 2
  triggers_replace = timestamp()
}
resource "terraform_data" "loud" {
  depends_on       = [terraform_data.a]
  triggers_replace = timestamp()
  provisioner "local-exec" { command = "for i in $(seq 60); do echo line-$i-; sleep 0.005; done" }
}
"#;

/// A workspace with a configuration.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) workspace: String,
    pub(crate) configuration: String,
}

/// The whole installation.
pub(crate) struct Site {
    pub(crate) nodes: Vec<Demo>,
    workers: Vec<Worker>,
    /// From each worker to each node.
    network: Vec<(Proxy, std::net::SocketAddr)>,
    rabbitmq: (Proxy, std::net::SocketAddr),
    /// The queue in RabbitMQ.
    queue: String,
    redis: Redis,
    database: Server,
    database_home: TempDir,
    /// What comes back, and when.
    returns: VecDeque<(Instant, Fault)>,
    counts: BTreeMap<&'static str, usize>,
    _runtime: Runtime,
}

/// Something that is broken and must be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Node(usize),
    Worker(usize),
    FrozenNode(usize),
    FrozenWorker(usize),
    Database,
    Redis,
    RabbitMq,
    Link(usize),
}

struct Redis {
    process: Child,
    port: u16,
    home: TempDir,
}

impl Redis {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = tempfile::tempdir().unwrap();
        let process = spawn_redis(port, &home);
        Self { process, port, home }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn_redis(port: u16, home: &TempDir) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]).arg("--dir").arg(home.path());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Site {
    pub(crate) fn start() -> Option<Self> {
        let runtime = Runtime::new().unwrap();
        let rabbitmq_url = variable("TFE_TEST_RABBITMQ")?;
        let rabbitmq_address = rabbitmq_url.rsplit('@').next()?.trim_end_matches('/').parse().ok()?;
        let rabbitmq = runtime.block_on(Proxy::start(rabbitmq_address)).unwrap();
        let redis = Redis::start();
        let database_home = directory_of_postgres();
        let database = Server::create(database_home.path());
        let name = format!("tfe_chaos_{}", std::process::id());
        psql(&database.address().to_string(), "postgres", &format!("CREATE DATABASE {name}"));
        let mut settings = external(&database.address().to_string(), &name)?;
        settings.extend(owned(&[
            TOKEN,
            ("TFE_WORKER_EMBEDDED", "false"),
            ("TFE_REDIS_HOST", &format!("127.0.0.1:{}", redis.port)),
            ("TFE_RABBITMQ_URL", &rabbitmq_url.replace(&rabbitmq_address.to_string(), &rabbitmq.address().to_string())),
            ("TFE_LOG", "info"),
        ]));
        let first = Demo::serve(settings.clone());
        let second = first.join(settings);
        let nodes = vec![first, second];
        let mut network = Vec::new();
        for _ in 0..WORKERS {
            for node in &nodes {
                let address = node.text("url").trim_start_matches("http://").parse().unwrap();
                network.push((runtime.block_on(Proxy::start(address)).unwrap(), address));
            }
        }
        let urls = |worker: usize| network[2 * worker..2 * worker + 2].iter().map(|(proxy, _)| format!("http://{}", proxy.address()));
        let workers = (0..WORKERS).map(|worker| Worker::start(&urls(worker).collect::<Vec<_>>().join(","), TOKEN)).collect();
        let (returns, counts) = (VecDeque::new(), BTreeMap::new());
        let queue = queue_of_hints(&database.address().to_string(), &name);
        let rabbitmq = (rabbitmq, rabbitmq_address);
        Some(Self { nodes, workers, network, rabbitmq, queue, redis, database, database_home, returns, counts, _runtime: runtime })
    }

    /// Workspaces with uploaded configurations.
    pub(crate) fn prepare(&self) -> Vec<Place> {
        (0..WORKSPACES).map(|number| self.place(&format!("chaos-{number}"))).collect()
    }

    fn place(&self, name: &str) -> Place {
        let project = self.nodes[0].project(name, CONFIGURATION);
        project.init();
        let workspace = self.nodes[0].workspace(name)["id"].as_str().unwrap().to_owned();
        let body = json!({ "data": { "type": "configuration-versions", "attributes": { "auto-queue-runs": false } } });
        let version = self.nodes[0].post(&format!("/api/v2/workspaces/{workspace}/configuration-versions"), &body);
        let archive = project.directory.path().join("archive.tar.gz");
        let packed = Command::new("tar").arg("-czf").arg(&archive).args(["main.tf"]).current_dir(project.directory.path()).status();
        assert!(packed.unwrap().success());
        let url = version["data"]["attributes"]["upload-url"].as_str().unwrap();
        let sent = Command::new("curl").args(["-sS", "-f", "-X", "PUT", "-T"]).arg(&archive).arg(url).status();
        assert!(sent.unwrap().success());
        Place { name: name.to_owned(), workspace, configuration: version["data"]["id"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn clients(&self) -> Clients {
        let urls = self.nodes.iter().map(|node| node.text("url").to_owned()).collect();
        let database = format!("{} tfe_chaos_{}", self.database.address(), std::process::id());
        Clients { urls, token: self.nodes[0].text("token").to_owned(), database }
    }

    /// Breaks things at random, and lets them come back, until there were enough.
    pub(crate) fn break_things(&mut self, seed: u64, load: &Load) {
        let mut chance = Chance(seed | 1);
        while !load.is_enough() {
            self.mend_what_is_due(Instant::now());
            if let Some(fault) = self.breakable(&mut chance) {
                self.break_one(fault, &mut chance, load);
            }
            if chance.below(4) == 0 {
                self.kill_a_process_of_a_run(&mut chance, load);
            }
            thread::sleep(Duration::from_millis(200 + chance.below(700)));
        }
    }

    /// Mends all.
    pub(crate) fn heal(&mut self) {
        self.mend_what_is_due(Instant::now() + Duration::from_hours(1));
    }

    /// What was done.
    pub(crate) fn tell(&self) -> String {
        self.counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }

    /// Something that works now. Workers and servers are hit more often than what is there once.
    fn breakable(&self, chance: &mut Chance) -> Option<Fault> {
        let fault = match chance.below(100) {
            0..25 => Fault::Node(chance.index(2)),
            25..60 => Fault::Worker(chance.index(WORKERS)),
            60..68 => Fault::FrozenNode(chance.index(2)),
            68..78 => Fault::FrozenWorker(chance.index(WORKERS)),
            78..90 => Fault::Link(chance.index(2 * WORKERS)),
            90..94 => Fault::Redis,
            94..98 => Fault::RabbitMq,
            _ => Fault::Database,
        };
        let hits_same = |broken: &Fault| match (*broken, fault) {
            (Fault::Node(a) | Fault::FrozenNode(a), Fault::Node(b) | Fault::FrozenNode(b))
            | (Fault::Worker(a) | Fault::FrozenWorker(a), Fault::Worker(b) | Fault::FrozenWorker(b)) => a == b,
            (a, b) => a == b,
        };
        (!self.returns.iter().any(|(_, broken)| hits_same(broken))).then_some(fault)
    }

    fn break_one(&mut self, fault: Fault, chance: &mut Chance, load: &Load) {
        let (name, longest_millis, is_kill) = match fault {
            Fault::Node(node) => {
                self.nodes[node].kill();
                ("servers killed", 2_000, true)
            }
            Fault::Worker(worker) => {
                self.workers[worker].kill();
                ("workers killed", 5_000, true)
            }
            Fault::FrozenNode(node) => {
                send(self.nodes[node].id(), Signal::SIGSTOP);
                ("servers frozen", 9_000, false)
            }
            Fault::FrozenWorker(worker) => {
                send(self.workers[worker].id().unwrap(), Signal::SIGSTOP);
                ("workers frozen", 9_000, false)
            }
            Fault::Link(link) => {
                self.network[link].0.switch(None);
                ("links cut", 6_000, false)
            }
            Fault::Redis => {
                self.redis.process.kill().unwrap();
                self.redis.process.wait().unwrap();
                ("Redis killed and wiped", 3_000, true)
            }
            Fault::RabbitMq => {
                self.rabbitmq.0.switch(None);
                delete_queue(&variable("TFE_TEST_RABBITMQ").unwrap(), &self.queue);
                ("RabbitMQ cut off and wiped", 3_000, false)
            }
            Fault::Database => {
                self.database.kill();
                ("databases killed", 1_000, true)
            }
        };
        *self.counts.entry(name).or_default() += 1;
        load.kills.fetch_add(usize::from(is_kill), Ordering::Relaxed);
        self.returns.push_back((Instant::now() + Duration::from_millis(chance.below(longest_millis)), fault));
    }

    fn mend_what_is_due(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) = self.returns.drain(..).partition(|(at, _)| *at <= now);
        self.returns = later.into();
        // Servers do not begin without their database.
        let order = |fault: &Fault| !matches!(fault, Fault::Database);
        let mut due: Vec<Fault> = due.into_iter().map(|(_, fault)| fault).collect();
        due.sort_by_key(order);
        let is_database_away = self.returns.iter().any(|(_, fault)| *fault == Fault::Database);
        for fault in due {
            match fault {
                Fault::Node(_) if is_database_away => self.returns.push_back((now, fault)),
                Fault::Node(node) => {
                    let listen = self.nodes[node].text("url").trim_start_matches("http://").to_owned();
                    self.nodes[node].serve_again_at(&listen);
                }
                Fault::Worker(worker) => self.workers[worker].begin(),
                Fault::FrozenNode(node) => send(self.nodes[node].id(), Signal::SIGCONT),
                Fault::FrozenWorker(worker) => send(self.workers[worker].id().unwrap(), Signal::SIGCONT),
                Fault::Link(link) => self.network[link].0.switch(Some(self.network[link].1)),
                Fault::Redis => self.redis.process = spawn_redis(self.redis.port, &self.redis.home),
                Fault::RabbitMq => self.rabbitmq.0.switch(Some(self.rabbitmq.1)),
                Fault::Database => self.database.start_again(self.database_home.path()),
            }
        }
    }

    /// Kills an engine or a supervisor of one of the workers.
    fn kill_a_process_of_a_run(&mut self, chance: &mut Chance, load: &Load) {
        let homes: Vec<String> = self.workers.iter().map(|worker| worker.home.path().display().to_string()).collect();
        let processes = processes_of_runs(&homes);
        if processes.is_empty() {
            return;
        }
        let (pid, name) = processes[chance.index(processes.len())];
        // It may have ended by itself in between.
        if nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).is_ok() {
            *self.counts.entry(name).or_default() += 1;
            load.kills.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.heal();
        self.nodes.iter_mut().for_each(Demo::end);
    }
}

/// Engines, and supervisors, told by the files that they have open below a worker's directory.
fn processes_of_runs(homes: &[String]) -> Vec<(i32, &'static str)> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let line = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).ok()?).replace('\0', " ");
        let name = match line.trim_end() {
            line if line.contains("terraform") && (line.contains(" plan ") || line.contains(" apply ")) => "engines killed",
            line if line.ends_with(" supervise") => "supervisors killed",
            _ => return None,
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let mut files = files.map(|file| file.display().to_string());
        files.any(|file| homes.iter().any(|home| file.contains(home.as_str()))).then_some((pid, name))
    })
    .collect()
}

impl Clients {
    /// The JSON that one of the servers answers, if it does in time.
    pub(super) fn answer(&self, attempt: usize, method: &str, path: &str, body: &str) -> Option<Value> {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "4", "-X", method, "-H", "Content-Type: application/vnd.api+json", "-K", "-"]);
        command.arg(format!("{}{path}", self.urls[attempt % self.urls.len()]));
        if !body.is_empty() {
            command.args(["--data-binary", body]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let header = format!("header = \"Authorization: Bearer {}\"\n", self.token);
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), header.as_bytes()).unwrap();
        serde_json::from_slice(&child.wait_with_output().unwrap().stdout).ok()
    }

    /// How many runs are over.
    pub(super) fn finished(&self) -> Option<usize> {
        let (address, name) = self.database.split_once(' ').unwrap();
        let open = "'pending', 'plan_queued', 'planning', 'planned', 'apply_queued', 'applying'";
        psql(address, name, &format!("SELECT count(*) FROM runs WHERE status NOT IN ({open})")).trim().parse().ok()
    }
}

/// Chance that a seed repeats: xorshift.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}

/// Waits until a server answers, after all has been mended.
pub(super) fn until_answered(site: &Site) {
    until("the servers to answer", || {
        site.nodes.iter().all(|node| node.get("/api/v2/organizations/demo")["data"].is_object()).then_some(())
    });
}
