//! A Redis that one test may stop, kill and start again.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::support::{HEALING, SECOND};

/// A server process without any file, ended with this.
pub(crate) struct RedisServer {
    port: u16,
    password: Option<&'static str>,
    process: Option<Child>,
}

impl RedisServer {
    /// A port that is free now, where nothing runs yet.
    pub(crate) fn planned() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, password: None, process: None }
    }

    pub(crate) async fn started() -> Self {
        let mut server = Self::planned();
        server.start().await;
        server
    }

    pub(crate) async fn with_password(password: &'static str) -> Self {
        let mut server = Self::planned();
        server.password = Some(password);
        server.start().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn start(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(self.password.iter().flat_map(|password| ["--requirepass", password]));
        self.process = Some(command.stdout(Stdio::null()).stdin(Stdio::null()).spawn().expect("redis-server is installed"));
        let deadline = tokio::time::Instant::now() + HEALING;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "redis-server listens within {HEALING:?}");
            tokio::time::sleep(SECOND / 50).await;
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Stops the process with its connections open.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Removes everything, as an operator or a failover would.
    pub(crate) async fn wipe(&self) {
        let client = ::redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        ::redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    }

    fn signal(&self, signal: Signal) {
        let id = self.process.as_ref().unwrap().id();
        kill(Pid::from_raw(id.try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
