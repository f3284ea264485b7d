//! What one process hands to the next, as open file descriptors.
//!
//! They travel over a socket that is the successor's standard input (`unix(7)`, `SCM_RIGHTS`), not as numbers to be
//! inherited: so each arrives as an owned descriptor that no other child gets, and a program that does not know about it
//! gets nothing.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::{Deserialize, Serialize};

/// Most descriptors in one message: the four of today, and as many that a later release may add.
const MAX_DESCRIPTORS: usize = 8;
/// Longest list of their names.
const MAX_LETTER_BYTES: usize = 4096;

/// What one process hands to the next. The lock belongs to the open file, so whoever has it holds it.
#[derive(Debug)]
pub(crate) struct Inheritance {
    /// The right to the data directory.
    pub(crate) lock: File,
    /// Where the next upgrade is asked for.
    pub(crate) control: UnixListener,
    /// Where clients connect.
    pub(crate) main: TcpListener,
    /// Where metrics are read, if they are.
    pub(crate) metrics: Option<TcpListener>,
}

/// What the descriptors are, in their order. A later release may send more than an earlier one knows.
#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    descriptors: Vec<String>,
}

impl Inheritance {
    /// Sends a copy of each descriptor.
    pub(crate) fn send(&self, line: &UnixStream) -> io::Result<()> {
        let mut sent: Vec<(&str, BorrowedFd<'_>)> =
            vec![("lock", self.lock.as_fd()), ("control", self.control.as_fd()), ("main", self.main.as_fd())];
        sent.extend(self.metrics.as_ref().map(|metrics| ("metrics", metrics.as_fd())));
        let (names, descriptors): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        let letter = serde_json::to_vec(&Letter { descriptors: names.into_iter().map(str::to_owned).collect() })?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !rights.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("there are too many descriptors to hand over"));
        }
        let written = rustix::net::sendmsg(line, &[IoSlice::new(&letter)], &mut rights, SendFlags::NOSIGNAL)?;
        if written == letter.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Takes what the other end [sends](Self::send).
    pub(crate) fn receive(line: &UnixStream) -> io::Result<Self> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut rights = RecvAncillaryBuffer::new(&mut space);
        let mut letter = vec![0; MAX_LETTER_BYTES];
        let received = rustix::net::recvmsg(line, &mut [IoSliceMut::new(&mut letter)], &mut rights, RecvFlags::CMSG_CLOEXEC)?;
        let descriptors = rights.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        });
        let descriptors: Vec<OwnedFd> = descriptors.collect();
        let letter: Letter = serde_json::from_slice(&letter[..received.bytes])?;
        let mut named: Vec<(String, OwnedFd)> = letter.descriptors.into_iter().zip(descriptors).collect();
        let mut take = |name: &str| Some(named.swap_remove(named.iter().position(|(known, _)| known == name)?).1);
        let missing = |name: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{name} was not handed over"));
        Ok(Self {
            lock: take("lock").ok_or_else(|| missing("lock"))?.into(),
            control: take("control").ok_or_else(|| missing("control"))?.into(),
            main: take("main").ok_or_else(|| missing("main"))?.into(),
            metrics: take("metrics").map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_was_handed_over_stays_when_its_first_holder_goes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let lock = File::create(&path).unwrap();
        lock.try_lock().unwrap();
        let main = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = main.local_addr().unwrap();
        let control = UnixListener::bind(home.path().join("control")).unwrap();
        let first = Inheritance { lock, control, main, metrics: None };
        let (here, there) = UnixStream::pair().unwrap();
        first.send(&here).unwrap();
        let second = Inheritance::receive(&there).unwrap();
        drop(first);
        assert!(File::open(&path).unwrap().try_lock().is_err(), "the lock is held");
        assert_eq!(second.main.local_addr().unwrap(), address);
        assert!(second.metrics.is_none());
        std::net::TcpStream::connect(address).unwrap();
        drop(second);
        File::open(&path).unwrap().try_lock().unwrap();
    }

    #[test]
    fn a_letter_without_descriptors_is_refused() {
        let (here, there) = UnixStream::pair().unwrap();
        io::Write::write_all(&mut &here, b"{\"descriptors\":[\"lock\"]}").unwrap();
        assert!(Inheritance::receive(&there).is_err());
    }
}
