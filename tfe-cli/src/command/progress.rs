//! What a person sees while a run goes on: its log, and a line that says where it stands while there is no log.

use std::io::{self, IsTerminal, Write};

use super::output;
use crate::{follow::Observer, model::Run};

/// Prints the log, and on a terminal the status.
pub(super) struct Progress {
    shows_log: bool,
    shows_status: bool,
    status: String,
}

impl Progress {
    /// With or without the log.
    pub(super) fn new(shows_log: bool) -> Self {
        Self { shows_log, shows_status: io::stderr().is_terminal(), status: String::new() }
    }

    /// Takes the status line away.
    pub(super) fn clear(&mut self) {
        if self.shows_status && !self.status.is_empty() {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
            self.status.clear();
        }
    }
}

impl Observer for Progress {
    fn log(&mut self, text: &str) {
        self.clear();
        if self.shows_log {
            // A reader that went away does not stop the run; following it goes on to its exit code.
            let _ = output::print(text);
        }
    }

    fn status(&mut self, run: &Run) {
        if self.shows_status && self.status != run.status {
            self.clear();
            self.status.clone_from(&run.status);
            let _ = write!(io::stderr(), "{} is {}…", run.id, output::coloured(&run.status));
        }
    }
}
