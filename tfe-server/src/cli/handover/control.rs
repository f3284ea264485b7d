//! Where a running server is asked for an upgrade: a socket in its data directory.
//!
//! A signal could carry neither the binary nor the answer. Whoever may start programs as the server's user may ask.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The socket's name in the data directory.
const NAME: &str = "control";

/// What is asked.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Request {
    /// The program that takes over; none for the server's own path as it is on the disk now.
    pub(crate) binary: Option<PathBuf>,
    /// Whether to wait until the server's own runner has no jobs.
    pub(crate) when_idle: bool,
}

/// What is answered, one line each; the first that is not [`Answer::Waiting`] is the last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// So many jobs are still at work.
    Waiting {
        /// How many.
        jobs: usize,
    },
    /// The successor serves.
    Replaced {
        /// Its number.
        process: u32,
    },
    /// The server that was asked goes on.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
}

/// Makes the socket. Only the holder of the directory's lock may, so what is left there is of a process that died.
pub(crate) fn bind(directory: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(directory.join(NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    at(directory, |path| UnixListener::bind(path))
}

/// Connects to the server of a data directory.
pub(crate) fn connect(directory: &Path) -> io::Result<UnixStream> {
    at(directory, |path| UnixStream::connect(path))
}

/// Whether whoever is at the other end could do the same without the server.
pub(crate) fn is_trusted(peer: u32) -> bool {
    peer == 0 || peer == nix::unistd::geteuid().as_raw()
}

/// The name of a socket is at most 107 bytes long (`unix(7)`), a data directory's path may be longer.
fn at<T>(directory: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let directory = File::open(directory)?;
    act(&PathBuf::from(format!("/proc/self/fd/{}/{NAME}", directory.as_fd().as_raw_fd())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_reached_however_long_the_path_is_and_replaces_what_a_dead_server_left() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("d".repeat(150));
        std::fs::create_dir(&directory).unwrap();
        assert!(connect(&directory).is_err());
        drop(bind(&directory).unwrap());
        assert!(connect(&directory).is_err(), "nobody listens");
        let _listener = bind(&directory).unwrap();
        connect(&directory).unwrap();
    }
}
