//! A server under a service manager: it takes the socket that it is given, and tells what a manager wants to know.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
};

use nix::sys::signal::Signal;

use crate::harness::{PATIENCE, activated, finish, send};

/// What a service manager does: it opens the socket, starts the service, and listens to what it tells.
struct Manager {
    home: tempfile::TempDir,
    notices: UnixDatagram,
    service: Child,
    address: std::net::SocketAddr,
}

impl Manager {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let notices = UnixDatagram::bind(home.path().join("notify")).unwrap();
        notices.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tfe-server"));
        command.args(["serve", "--data-dir"]).arg(home.path().join("data")).env("NOTIFY_SOCKET", home.path().join("notify"));
        let log = fs::File::create(home.path().join("server.log")).unwrap();
        let service = activated(&command, &socket).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { home, notices, service, address }
    }

    /// Waits for a notice that begins so, and gives the rest of it.
    fn hears(&self, beginning: &str) -> String {
        let mut text = [0; 256];
        loop {
            let length = self.notices.recv(&mut text).unwrap_or_else(|error| panic!("{beginning} was not heard: {error}"));
            let notice = String::from_utf8_lossy(&text[..length]).into_owned();
            if let Some(rest) = notice.strip_prefix(beginning) {
                return rest.to_owned();
            }
            assert_ne!(notice, "STOPPING=1", "{beginning} was expected");
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

#[test]
fn a_service_manager_gives_the_socket_and_hears_of_every_change() {
    let mut manager = Manager::start();
    TcpStream::connect(manager.address).expect("the socket is there before the service");
    manager.hears("EXTEND_TIMEOUT_USEC=");
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    let readiness = || {
        let url = format!("http://{}/api/v1/health/liveness", manager.address);
        String::from_utf8(Command::new("curl").args(["-sS", &url]).output().unwrap().stdout).unwrap()
    };
    assert_eq!(readiness(), "OK\n");
    let mut upgrade = Command::new(env!("CARGO_BIN_EXE_tfe-server"));
    upgrade.args(["upgrade", "--data-dir"]).arg(manager.home.path().join("data")).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(upgrade.spawn().unwrap()).succeeded();
    let successor: u32 = manager.hears("MAINPID=").parse().unwrap();
    assert_eq!(readiness(), "OK\n");
    assert!(manager.service.wait().unwrap().success());
    manager.hears("WATCHDOG=1");
    send(successor, Signal::SIGTERM);
    manager.hears("STOPPING=1");
}
