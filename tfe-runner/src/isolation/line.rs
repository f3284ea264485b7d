//! The line between a supervisor and the first process of its sandbox: messages, and files that go with them.
//!
//! A file is passed and not its path, since what a step writes to is out of reach in there.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::Shutdown,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    cmsg_space,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg},
};
use serde::{Serialize, de::DeserializeOwned};

/// Longest message: several times what the kernel takes as arguments and environment of a program.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
/// Files that go with one message: an output and the errors.
const MAX_FILES: usize = 2;
/// The length before each message.
const HEADER_BYTES: usize = size_of::<u32>();

/// One end of a line.
#[derive(Debug)]
pub(super) struct Line(UnixStream);

impl Line {
    /// A line, whose other end becomes somebody's standard input.
    pub(super) fn open() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = UnixStream::pair()?;
        Ok((Self(own), other.into()))
    }

    /// The end that is this process's standard input.
    pub(super) fn of_standard_input() -> io::Result<Self> {
        Ok(Self(io::stdin().as_fd().try_clone_to_owned()?.into()))
    }

    /// The same end once more.
    pub(super) fn again(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Says that nothing more will come from here.
    pub(super) fn finish(&self) {
        // What is closed already is finished.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    pub(super) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// Sends a message with at most [`MAX_FILES`] files.
    pub(super) fn send_with(&self, message: &impl Serialize, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).ok().filter(|_| text.len() <= MAX_MESSAGE_BYTES);
        let length = length.ok_or_else(|| io::Error::other("what is to be started has too large an environment"))?.to_le_bytes();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = sendmsg(&self.0, &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
        let mut line = &self.0;
        line.write_all(length.get(sent..).unwrap_or_default())?;
        line.write_all(&text)
    }

    /// The next message; none when the other end has finished.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        Ok(self.receive_with()?.map(|(message, _)| message))
    }

    /// The next message with its files; none when the other end has finished.
    pub(super) fn receive_with<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<File>)>> {
        let mut header = [0; HEADER_BYTES];
        let (received, files) = self.begin(&mut header)?;
        if received == 0 {
            return Ok(None);
        }
        let mut line = &self.0;
        line.read_exact(header.get_mut(received..).unwrap_or_default())?;
        let length = usize::try_from(u32::from_le_bytes(header)).map_err(io::Error::other)?;
        if length > MAX_MESSAGE_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut text = vec![0; length];
        line.read_exact(&mut text)?;
        Ok(Some((serde_json::from_slice(&text)?, files)))
    }

    /// Reads the beginning of a message, with which its files come.
    fn begin(&self, header: &mut [u8]) -> io::Result<(usize, Vec<File>)> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FILES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.0, &mut [IoSliceMut::new(header)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        let files = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files.map(File::from)),
            _ => None,
        });
        Ok((received, files.flatten().collect()))
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};

    use super::*;

    #[test]
    fn messages_come_whole_in_order_and_with_their_files() {
        let (near, far) = Line::open().unwrap();
        let far = Line(far.into());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"passed").unwrap();
        near.send(&"first").unwrap();
        near.send_with(&"second", &[file.as_fd(), file.as_fd()]).unwrap();
        near.send(&"third").unwrap();
        near.finish();
        assert_eq!(far.receive::<String>().unwrap().unwrap(), "first");
        let (text, mut files) = far.receive_with::<String>().unwrap().unwrap();
        assert_eq!((text.as_str(), files.len()), ("second", 2));
        let mut content = String::new();
        files[0].seek(SeekFrom::Start(0)).unwrap();
        files[0].read_to_string(&mut content).unwrap();
        assert_eq!(content, "passed");
        assert_eq!(far.receive_with::<String>().unwrap().unwrap().1.len(), 0);
        assert!(far.receive::<String>().unwrap().is_none());
        drop(far);
        assert_eq!(near.send(&"late").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_message_that_is_too_long_is_not_sent() {
        let (near, _far) = Line::open().unwrap();
        assert!(near.send(&"x".repeat(MAX_MESSAGE_BYTES)).is_err());
    }
}
