//! What a service manager is told (`sd_notify(3)`): one datagram to the socket that it names. Without one nobody is told.

use std::{
    env,
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

const SOCKET: &str = "NOTIFY_SOCKET";

/// How long a start may be silent: as long as a server may in the unit (`WatchdogSec`).
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How often it says that it goes on, as often as the watchdog does.
const START_BEAT: Duration = Duration::from_secs(1);

/// Tells the service manager that a start goes on, as long as the event loop turns: restoring a snapshot, or a first change of the
/// schema, takes what it takes, which no limit in a unit can know.
pub(crate) async fn starting<T>(start: impl Future<Output = T>) -> T {
    let extended = format!("EXTEND_TIMEOUT_USEC={}", START_PATIENCE.as_micros());
    let beats = async {
        loop {
            tell(&extended);
            tokio::time::sleep(START_BEAT).await;
        }
    };
    tokio::select! {
        biased;
        () = beats => unreachable!("beats do not end"),
        started = start => started,
    }
}

/// Tells the service manager, if there is one: `READY=1`, `STOPPING=1`, `WATCHDOG=1`, `EXTEND_TIMEOUT_USEC=…`, `MAINPID=…`.
pub(crate) fn tell(state: &str) {
    let Some(socket) = env::var_os(SOCKET) else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, state, "the service manager was not told");
    }
}

fn send(socket: &OsString, state: &str) -> io::Result<()> {
    // An at sign stands for the byte that begins a name which is no file's.
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_hears_by_a_path_and_by_an_abstract_name() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("notify");
        let name = format!("tfe-notify-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let managers = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (OsString::from(format!("@{name}")), UnixDatagram::bind_addr(&abstract_address).unwrap()),
        ];
        for (socket, manager) in managers {
            send(&socket, "READY=1").unwrap();
            let mut heard = [0; 32];
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1");
        }
        assert!(send(&OsString::from("/nowhere/notify"), "READY=1").is_err());
    }
}
