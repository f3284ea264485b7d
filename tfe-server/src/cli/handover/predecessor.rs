//! The process that serves until this one does, as this one sees it.

use std::{
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
};

use super::{Failure, Inheritance, READY};

/// The other end of the line to the process that serves now.
#[derive(Debug)]
pub(crate) struct Predecessor(UnixStream);

impl Predecessor {
    /// Takes what the server that started this process hands over, on standard input.
    pub(crate) fn meet() -> Result<(Self, Inheritance), Failure> {
        let line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let inheritance = Inheritance::receive(&line)
            .map_err(|error| format!("nothing was handed over ({error}); this is done by a running server: tfe-server upgrade"))?;
        Ok((Self(line), inheritance))
    }

    /// Says whether this process serves from now on, or why not.
    pub(crate) fn tell<T>(&mut self, outcome: &Result<T, Failure>) {
        let line = match outcome {
            Ok(_) => READY.to_owned(),
            Err(error) => error.to_string().replace('\n', " "),
        };
        // One that has died needs no answer; somebody must serve.
        if let Err(error) = writeln!(self.0, "{line}") {
            tracing::warn!(%error, "the server before this one is gone already");
        }
    }
}
