//! A server as a process.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use crate::project::{Outcome, Project, finish};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Where files are in memory, on most machines.
const MEMORY: &str = "/dev/shm";
/// Where a server listens that is free to choose.
const ANY_PORT: &str = "127.0.0.1:0";

/// A running `tfe-server demo`; killed with the value.
pub(crate) struct Demo {
    process: Child,
    /// The process that serves in its place since an upgrade, which is not a child of this one.
    successor: Option<u32>,
    pub(crate) home: TempDir,
    pub(crate) access: Value,
    environment: Vec<(String, String)>,
}

/// Where a server listens.
#[derive(Clone, Copy)]
enum Listen<'l> {
    At(&'l str),
    On(&'l TcpListener),
}

impl Demo {
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &[])
    }

    /// Starts one with more arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    fn start_in(home: TempDir, arguments: &[&str]) -> Self {
        let (process, access) = spawn(home.path(), arguments);
        Self { process, successor: None, home, access, environment: Vec::new() }
    }

    /// Starts `tfe-server serve` with these settings, and sets it up with `tfe admin bootstrap`.
    pub(crate) fn serve(environment: Vec<(String, String)>) -> Self {
        Self::serve_in(tempfile::tempdir().unwrap(), environment)
    }

    /// The same with everything of the node in a directory.
    pub(crate) fn serve_in(home: TempDir, environment: Vec<(String, String)>) -> Self {
        let (process, access) = spawn_server(home.path(), &environment, Listen::At(ANY_PORT));
        Self { process, successor: None, home, access, environment }
    }

    /// Serves on a socket that somebody keeps when the server dies, as a service manager does.
    pub(crate) fn serve_on(socket: &TcpListener) -> Self {
        let (home, environment) = (tempfile::tempdir().unwrap(), Vec::new());
        let (process, access) = spawn_server(home.path(), &environment, Listen::On(socket));
        Self { process, successor: None, home, access, environment }
    }

    /// Serves again on that socket.
    pub(crate) fn serve_again_on(&mut self, socket: &TcpListener) {
        (self.process, _) = begin_to_serve(self.home.path(), &self.environment, Listen::On(socket));
    }

    /// The same in memory, for tests of many thousand commits. Processes that die lose nothing of it, a machine would.
    pub(crate) fn serve_in_memory(environment: Vec<(String, String)>) -> Self {
        Self::serve_in(tempfile::tempdir_in(MEMORY).or_else(|_| tempfile::tempdir()).unwrap(), environment)
    }

    /// Another node of the same installation, in a place of its own, with the token of this one.
    pub(crate) fn join(&self, environment: Vec<(String, String)>) -> Self {
        Self::join_at(tempfile::tempdir().unwrap(), &self.access, environment)
    }

    /// A node with everything of it in a directory, for those who have access to the installation already.
    pub(crate) fn join_at(home: TempDir, access: &Value, environment: Vec<(String, String)>) -> Self {
        let (process, url) = begin_to_serve(home.path(), &environment, Listen::At(ANY_PORT));
        let mut access = access.clone();
        let own = |key: &str| access[key].as_str().unwrap();
        let rc = fs::read_to_string(own("terraform_rc")).unwrap().replace(own("url"), &url);
        let rc_path = home.path().join("terraform.rc");
        fs::write(&rc_path, rc).unwrap();
        access["url"] = url.into();
        access["terraform_rc"] = rc_path.to_str().unwrap().into();
        Self { process, successor: None, home, access, environment }
    }

    /// The server's process.
    pub(crate) fn id(&self) -> u32 {
        self.successor.unwrap_or_else(|| self.process.id())
    }

    /// What the server wrote.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.home.path().join("server.log")).unwrap()
    }

    /// Waits until the server has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        until("the end of the server", || self.process.try_wait().unwrap())
    }

    /// Waits until the server has made way for that process.
    pub(crate) fn replaced_by(&mut self, process: u32) {
        let before = self.successor.replace(process);
        match before {
            None => assert!(self.wait().success()),
            Some(before) => until("the end of the server", || is_over(before).then_some(())),
        }
    }

    /// From now on that process is the server, since the one before it has died.
    pub(crate) fn succeeded_by(&mut self, process: u32) {
        self.successor = Some(process);
    }

    /// Kills the server without a warning and serves again, on another port.
    pub(crate) fn kill_and_serve_again(&mut self) {
        self.kill();
        (self.process, self.access) = spawn_server(self.home.path(), &self.environment, Listen::At(ANY_PORT));
    }

    /// Changes what servers that are started from now on have in their environment.
    pub(crate) fn set(&mut self, settings: Vec<(String, String)>) {
        self.environment.extend(settings);
    }

    /// Serves again at that address, for those who know no other one.
    pub(crate) fn serve_again_at(&mut self, listen: &str) {
        (self.process, _) = begin_to_serve(self.home.path(), &self.environment, Listen::At(listen));
    }

    /// Starts terraform in a directory without waiting for it.
    pub(crate) fn start_terraform(&self, directory: &Path, arguments: &[&str]) -> Child {
        let mut command = self.terraform(directory, arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn terraform(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("terraform");
        command.args(arguments).current_dir(directory).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.home.path());
        command.env("TF_CLI_CONFIG_FILE", self.text("terraform_rc")).env("CHECKPOINT_DISABLE", "1");
        if let Some(authority) = self.access["ca_file"].as_str() {
            command.env("SSL_CERT_FILE", authority);
        }
        command
    }

    /// Kills the server without a warning.
    pub(crate) fn kill(&mut self) {
        if let Some(successor) = self.successor.take() {
            send(successor, Signal::SIGKILL);
            return until("the end of the server", || is_over(successor).then_some(()));
        }
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// The status of an answer, and its text.
    pub(crate) fn answer(&self, method: &str, path: &str, body: &Value) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args(["-sS", "-X", method, "-H", "Content-Type: application/vnd.api+json", "-w", "\n%{http_code}", "-K", "-"]);
        command.arg(format!("{}{path}", self.text("url")));
        if !body.is_null() {
            command.args(["--data-binary", &body.to_string()]);
        }
        let output = self.with_token(command);
        let (text, status) = output.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), text.to_owned())
    }

    /// Kills the server without a warning and starts it again on the same directory.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        (self.process, self.access) = spawn(self.home.path(), &[]);
    }

    pub(crate) fn data_directory(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.access[key].as_str().unwrap_or_else(|| panic!("no {key} in {}", self.access))
    }

    /// A directory with this configuration, preceded by a `cloud` block for the workspace.
    pub(crate) fn project(&self, workspace: &str, configuration: &str) -> Project<'_> {
        self.project_with(&self.cloud(&format!("name = \"{workspace}\"")), configuration)
    }

    /// A directory with this backend and configuration.
    pub(crate) fn project_with(&self, backend: &str, configuration: &str) -> Project<'_> {
        let project = Project::new(self);
        project.write("backend.tf", backend);
        project.write("main.tf", configuration);
        project
    }

    /// A `cloud` block.
    pub(crate) fn cloud(&self, workspaces: &str) -> String {
        let (host, organization) = (self.text("hostname"), self.text("organization"));
        format!(
            "terraform {{\n  cloud {{\n    hostname = \"{host}\"\n    organization = \"{organization}\"\n    workspaces {{\n{workspaces}\n    }}\n  }}\n}}\n"
        )
    }

    /// A `remote` backend.
    pub(crate) fn remote(&self, workspaces: &str) -> String {
        let (host, organization) = (self.text("hostname"), self.text("organization"));
        format!(
            "terraform {{\n  backend \"remote\" {{\n    hostname = \"{host}\"\n    organization = \"{organization}\"\n    workspaces {{ {workspaces} }}\n  }}\n}}\n"
        )
    }

    /// Asks the API.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.api("GET", path, None)
    }

    /// Asks the API to do something.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.api("POST", path, Some(body))
    }

    /// Asks the API to change something.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Value {
        self.api("PATCH", path, Some(body))
    }

    /// The workspace as the API shows it.
    pub(crate) fn workspace(&self, name: &str) -> Value {
        self.get(&format!("/api/v2/organizations/{}/workspaces/{name}", self.text("organization")))["data"].clone()
    }

    /// The runs of a workspace, newest first.
    pub(crate) fn runs(&self, workspace: &str) -> Vec<Value> {
        let id = self.workspace(workspace)["id"].as_str().unwrap().to_owned();
        self.get(&format!("/api/v2/workspaces/{id}/runs"))["data"].as_array().unwrap().clone()
    }

    /// Waits until the newest run of a workspace has one of these statuses.
    pub(crate) fn run_until(&self, workspace: &str, statuses: &[&str]) -> Value {
        until(&format!("a run of {workspace} that is {statuses:?}"), || {
            let run = self.runs(workspace).into_iter().next()?;
            statuses.contains(&run["attributes"]["status"].as_str()?).then_some(run)
        })
    }

    fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let mut command = Command::new("curl");
        command.args(["-sS", "-X", method, "-H", "Content-Type: application/vnd.api+json", "-K", "-"]);
        command.arg(format!("{}{path}", self.text("url")));
        if let Some(authority) = self.access["ca_file"].as_str() {
            command.args(["--cacert", authority]);
        }
        if let Some(body) = body {
            command.args(["--data-binary", &body.to_string()]);
        }
        serde_json::from_str(&self.with_token(command)).unwrap_or(Value::Null)
    }

    /// Runs curl with the token, which must not be among its arguments.
    fn with_token(&self, mut command: Command) -> String {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let header = format!("header = \"Authorization: Bearer {}\"\n", self.text("token"));
        child.stdin.take().unwrap().write_all(header.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }
}

impl Demo {
    /// Ends the server, if it has not ended.
    pub(crate) fn end(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(successor) = self.successor.take() {
            let _ = kill(Pid::from_raw(successor.try_into().unwrap()), Signal::SIGKILL);
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.end();
    }
}

/// Interrupts a process as Ctrl-C does.
pub(crate) fn interrupt(child: &Child) {
    send(child.id(), Signal::SIGINT);
}

pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// Whether a process has ended, perhaps without anybody who was told.
fn is_over(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The first of its threads may have ended before the others, which have its files open.
    let has_threads = || fs::read_dir(format!("/proc/{process}/task")).is_ok_and(|threads| threads.count() > 1);
    status.rsplit_once(") ").is_none_or(|(_, state)| state.starts_with('Z') && !has_threads())
}

/// Waits until `look` finds something.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same with a patience of one's own.
#[track_caller]
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Begins to serve with these settings.
pub(crate) fn command(home: &Path, environment: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tfe-server"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", home);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// The program `tfe`, which is built beside the server.
pub(crate) fn tool() -> PathBuf {
    let tool = Path::new(env!("CARGO_BIN_EXE_tfe-server")).with_file_name("tfe");
    assert!(tool.is_file(), "{} is not built; run cargo build --workspace --bins", tool.display());
    tool
}

fn spawn_server(home: &Path, environment: &[(String, String)], listen: Listen<'_>) -> (Child, Value) {
    let data = home.join("data");
    let (process, url) = begin_to_serve(home, environment, listen);
    let mut bootstrap = Command::new(tool());
    bootstrap.env_clear().env("HOME", home).args(["admin", "bootstrap", "--url", &url, "--data-dir"]).arg(&data);
    let done = bootstrap.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    (process, serde_json::from_slice(&fs::read(data.join("demo.json")).unwrap()).unwrap())
}

/// Starts a server and waits for its address.
fn begin_to_serve(home: &Path, environment: &[(String, String)], listen: Listen<'_>) -> (Child, String) {
    let (data, log_path) = (home.join("data"), home.join("server.log"));
    let log = fs::OpenOptions::new().create(true).append(true).open(&log_path).unwrap();
    let before = fs::read_to_string(&log_path).unwrap().len();
    let mut command = command(home, environment);
    command.args(["serve", "--data-dir"]).arg(&data).arg("--work-dir").arg(home.join("work")).stdin(Stdio::null());
    match listen {
        Listen::At(address) => drop(command.args(["--listen", address])),
        Listen::On(socket) => command = activated(&command, socket),
    }
    let mut process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let url = until("the server", || {
        let said = fs::read_to_string(&log_path).unwrap()[before..].to_owned();
        if let Some(status) = process.try_wait().unwrap() {
            panic!("the server ended with {status}: {said}");
        }
        said.lines().find_map(|line| Some(line.strip_prefix("serving ")?.to_owned()))
    });
    (process, url)
}

/// The same command with a socket, given as a service manager gives it: the first one is descriptor 3 (`sd_listen_fds(3)`).
pub(crate) fn activated(command: &Command, socket: &TcpListener) -> Command {
    let script = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"";
    let mut activated = Command::new("/bin/sh");
    activated.args(["-c", script]).arg(command.get_program()).args(command.get_args());
    activated.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    activated.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    activated.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    activated
}

fn spawn(home: &Path, arguments: &[&str]) -> (Child, Value) {
    let data = home.join("data");
    let log_path = home.join("server.log");
    let log = fs::File::create(&log_path).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tfe-server"));
    command.args(["demo", "--listen", "127.0.0.1:0"]).arg("--data-dir").arg(&data).arg("--work-dir").arg(home.join("work"));
    if let Some(mirror) = std::env::var_os("TFE_TEST_MIRROR") {
        let path = home.join("mirror.tfrc");
        fs::write(&path, format!("provider_installation {{\n  filesystem_mirror {{ path = \"{}\" }}\n}}\n", mirror.display())).unwrap();
        command.arg("--run-cli-config").arg(path);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut process = command.spawn().unwrap();
    let access = until("the demo", || {
        if let Some(status) = process.try_wait().unwrap() {
            panic!("the demo ended with {status}: {}", fs::read_to_string(&log_path).unwrap());
        }
        fs::read_to_string(&log_path)
            .unwrap()
            .contains("Ctrl-C")
            .then(|| serde_json::from_slice(&fs::read(data.join("demo.json")).unwrap()).unwrap())
    });
    (process, access)
}
