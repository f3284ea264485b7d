//! The process that serves until this one does, as this one sees it.

use std::{
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::parent_id},
    },
    time::Duration,
};

use tfe_server::fail_points::{TAKE_OVER_INHERITED, TAKE_OVER_OPENED, TAKE_OVER_STARTED};

use super::{Failure, Inheritance, READY};

/// How often it is looked whether the process before this one has ended.
const TICK: Duration = Duration::from_millis(200);

/// The other end of the line to the process that serves now.
#[derive(Debug)]
pub(crate) struct Predecessor {
    line: UnixStream,
    process: u32,
}

impl Predecessor {
    /// Takes what the server that started this process hands over, on standard input.
    pub(crate) fn meet() -> Result<(Self, Inheritance), Failure> {
        TAKE_OVER_STARTED.reach();
        let line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let inheritance = Inheritance::receive(&line)
            .map_err(|error| format!("nothing was handed over ({error}); this is done by a running server: tfe-server upgrade"))?;
        TAKE_OVER_INHERITED.reach();
        Ok((Self { line, process: parent_id() }, inheritance))
    }

    /// Returns when that process has ended: it finishes what it was asked, for as long as that takes.
    pub(crate) async fn ended(&self) {
        while parent_id() == self.process {
            tokio::time::sleep(TICK).await;
        }
    }

    /// Says whether this process serves from now on, or why not.
    pub(crate) fn tell<T>(&mut self, outcome: &Result<T, Failure>) {
        let line = match outcome {
            Ok(_) => READY.to_owned(),
            Err(error) => error.to_string().replace('\n', " "),
        };
        if outcome.is_ok() {
            TAKE_OVER_OPENED.reach();
        }
        // One that has died needs no answer; somebody must serve.
        if let Err(error) = writeln!(self.line, "{line}") {
            tracing::warn!(%error, "the server before this one is gone already");
        }
    }
}
