//! A line on the terminal that is written over; nothing where nobody looks.

use std::io::{IsTerminal, Write};

use tfe_storage::{migrate, snapshot};

/// The line.
pub(crate) struct Shown {
    is_shown: bool,
}

impl Shown {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal() }
    }

    /// Shows how far a migration is.
    pub(crate) fn migration(&self) -> impl FnMut(migrate::Stage, u64) + Send + use<> {
        let is_shown = self.is_shown;
        move |stage, done| {
            let what = match stage {
                migrate::Stage::Blobs => "blobs copied",
                migrate::Stage::Records => "records copied",
                migrate::Stage::Verification => "records verified on both sides",
            };
            show(is_shown, done, what);
        }
    }

    /// Shows how far a snapshot or a restore is.
    pub(crate) fn snapshot(&self) -> impl FnMut(snapshot::Step, u64) + Send + use<> {
        let is_shown = self.is_shown;
        move |step, done| {
            let what = match step {
                snapshot::Step::Records => "records",
                snapshot::Step::Blobs => "blobs",
                snapshot::Step::Journal => "commits of the journal",
                snapshot::Step::Verification => "records verified",
            };
            show(is_shown, done, what);
        }
    }

    /// Leaves the line.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = writeln!(std::io::stderr());
        }
    }
}

fn show(is_shown: bool, done: u64, what: &str) {
    if is_shown {
        let _ = write!(std::io::stderr(), "\r\x1b[2K{done} {what}");
    }
}
