//! What clients notice when a single node is upgraded, and when it is killed.
//!
//! Clients ask all the time, half of them over connections that they keep, half with a new one for each request. Meanwhile the
//! server is upgraded several times; then it is killed without a warning several times, and started again at once, as a supervisor
//! does. The figures are refused connections, requests without an answer, and the longest time between two answers to one client;
//! and from a kill to the next answer. There is no baseline: nothing is the best. Needs release builds:
//!
//! ```sh
//! cargo build --release -p tfe-server -p tfe-cli && cargo bench -p tfe-benches --bench upgrades
//! ```
#![expect(clippy::print_stdout, reason = "a measurement prints its figures")]

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How often the server is upgraded, and how often it is killed.
const ROUNDS: usize = 10;
/// Clients that ask all the time.
const CLIENTS: usize = 32;
/// Between two attempts at a server that is away.
const RETRY_PAUSE: Duration = Duration::from_millis(1);
/// What is asked: it reads the token, the user and the organization.
const PATH: &str = "/api/v2/account/details";
/// What the project promises: the longest gap of an upgrade, and from a kill to the next answer.
const PROMISE: Duration = Duration::from_secs(1);

fn main() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::start(home.path());
    let client = server.client();
    let seen = under_load(&client, || {
        for _ in 0..ROUNDS {
            server.upgrade();
        }
    });
    println!("{ROUNDS} upgrades of a single node under load, {CLIENTS} clients, {} answers", seen.answers);
    println!("refused connections  {}", seen.refused);
    println!("requests unanswered  {}", seen.unanswered);
    println!("longest gap          {} ms, promised at most {}", seen.gap.as_millis(), PROMISE.as_millis());
    let mut times = Vec::new();
    under_load(&client, || times.extend((0..ROUNDS).map(|_| server.kill_and_wait_for(&client))));
    times.sort();
    let (median, worst) = (times[times.len() / 2].as_millis(), times[times.len() - 1].as_millis());
    println!("{ROUNDS} kills under the same load");
    println!("kill -9: time to next successful request: median {median} ms, longest {worst} ms, promised at most {}", PROMISE.as_millis());
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    answers: usize,
    refused: usize,
    unanswered: usize,
    gap: Duration,
}

fn under_load(client: &Client, disturb: impl FnOnce()) -> Seen {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (client, is_over) = (Client { keeps: number % 2 == 0, ..client.clone() }, &is_over);
                scope.spawn(move || client.ask_until(is_over))
            })
            .collect();
        disturb();
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("what it saw")).fold(Seen::default(), |all, one| Seen {
            answers: all.answers + one.answers,
            refused: all.refused + one.refused,
            unanswered: all.unanswered + one.unanswered,
            gap: all.gap.max(one.gap),
        })
    })
}

/// Who asks, by hand: a library would ask again without a word.
#[derive(Clone)]
struct Client {
    address: String,
    token: String,
    keeps: bool,
}

impl Client {
    fn ask_until(&self, is_over: &AtomicBool) -> Seen {
        let (mut seen, mut last, mut kept) = (Seen::default(), Instant::now(), None);
        while !is_over.load(Ordering::Relaxed) {
            let Some(connection) = kept.take().or_else(|| self.connect().ok()) else {
                seen.refused += 1;
                thread::sleep(RETRY_PAUSE);
                continue;
            };
            if let Ok(connection) = self.ask(connection) {
                kept = connection;
                seen.answers += 1;
                seen.gap = seen.gap.max(last.elapsed());
                last = Instant::now();
            } else {
                seen.unanswered += 1;
            }
        }
        seen
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }

    /// One request; the connection comes back if both sides keep it.
    fn ask(&self, mut connection: BufReader<TcpStream>) -> io::Result<Option<BufReader<TcpStream>>> {
        let token = &self.token;
        let close = if self.keeps { "" } else { "Connection: close\r\n" };
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: tfe\r\nAuthorization: Bearer {token}\r\n{close}\r\n");
        connection.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut keeps) = (0, self.keeps);
        let mut line = String::new();
        connection.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(line));
        }
        while line.trim_end() != "" {
            line.clear();
            connection.read_line(&mut line)?;
            let field = line.trim_end().to_ascii_lowercase();
            length = field.strip_prefix("content-length: ").and_then(|value| value.parse().ok()).unwrap_or(length);
            keeps &= field != "connection: close";
        }
        io::copy(&mut (&mut connection).take(length), &mut io::sink())?;
        Ok(keeps.then_some(connection))
    }
}

/// A server, ended with the value.
struct Server {
    home: PathBuf,
    address: String,
    /// The process that was started here, until an upgrade or a kill replaces it.
    process: Child,
    /// The process of the newest upgrade.
    successor: Option<String>,
}

impl Server {
    fn start(home: &Path) -> Self {
        let process = begin(home, "127.0.0.1:0");
        let log = home.join("log");
        let address = loop {
            let said = fs::read_to_string(&log).expect("the log");
            if let Some(url) = said.lines().find_map(|line| line.strip_prefix("serving http://")) {
                break url.to_owned();
            }
            thread::sleep(Duration::from_millis(20));
        };
        let mut bootstrap = Command::new(program("tfe"));
        bootstrap.args(["admin", "bootstrap", "--url", &format!("http://{address}"), "--data-dir"]).arg(home.join("data"));
        assert!(bootstrap.output().expect("tfe runs").status.success(), "the first administrator was not made");
        Self { home: home.to_owned(), address, process, successor: None }
    }

    fn client(&self) -> Client {
        let access = fs::read(self.home.join("data/demo.json")).expect("demo.json");
        let access: Value = serde_json::from_slice(&access).expect("it is JSON");
        Client { address: self.address.clone(), token: access["token"].as_str().expect("a token").to_owned(), keeps: true }
    }

    /// Upgrades, and waits until the process before has ended.
    fn upgrade(&mut self) {
        let output = Command::new(program("tfe-server")).args(["upgrade", "--data-dir"]).arg(self.home.join("data")).output();
        let said = String::from_utf8(output.expect("tfe-server runs").stderr).expect("text");
        let number = said.strip_prefix("process ").and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("{said}"));
        match self.successor.replace(number.to_owned()) {
            None => drop(self.process.wait().expect("its end")),
            Some(before) => until_gone(&before),
        }
    }

    fn kill_and_wait_for(&mut self, client: &Client) -> Duration {
        let begun = Instant::now();
        self.end();
        self.process = begin(&self.home, &self.address);
        while client.connect().and_then(|connection| client.ask(connection)).is_err() {
            thread::sleep(RETRY_PAUSE);
        }
        begun.elapsed()
    }

    fn end(&mut self) {
        if let Some(successor) = self.successor.take() {
            let _ = Command::new("kill").args(["-9", &successor]).status();
            until_gone(&successor);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn begin(home: &Path, listen: &str) -> Child {
    let log = fs::OpenOptions::new().create(true).append(true).open(home.join("log")).expect("a log");
    let mut command = Command::new(program("tfe-server"));
    command.args(["serve", "--listen", listen, "--data-dir"]).arg(home.join("data")).arg("--work-dir").arg(home.join("work"));
    let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    started.expect("cargo build --release -p tfe-server -p tfe-cli comes first")
}

/// Waits for the end of a process that is no child of this one.
fn until_gone(process: &str) {
    let stat = format!("/proc/{process}/stat");
    while fs::read_to_string(&stat).is_ok_and(|text| text.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// A release build beside this program's own directory.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program has a path");
    own.ancestors().nth(2).expect("it lies in target/release/deps").join(name)
}
