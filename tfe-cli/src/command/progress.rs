//! A run on the terminal: its log, and a line that says what it waits for.

use std::io::{self, IsTerminal, Write};

use super::output::{self, Output};
use crate::{Plain, Run, follow::Observer};

/// To the beginning of the line, and empties it.
const CLEAR_LINE: &str = "\r\x1b[2K";

/// Prints the log to the standard output, or with JSON to the standard error, and the status to the standard error
/// if that is a terminal.
pub(super) struct Progress {
    output: Output,
    plain: Option<Plain>,
    shows_status: bool,
    /// Whether a status is on the screen now.
    is_status_shown: bool,
    /// Whether the log stands at the beginning of a line; in the middle of one a status would wipe it out.
    is_at_line_start: bool,
}

impl Progress {
    /// Nothing is printed yet.
    pub(super) fn new(output: Output) -> Self {
        let is_error_terminal = io::stderr().is_terminal();
        let keeps_colour = if output.is_json { is_error_terminal } else { output.keeps_colour() };
        let plain = (!keeps_colour).then(Plain::default);
        Self { output, plain, shows_status: is_error_terminal, is_status_shown: false, is_at_line_start: true }
    }

    /// Ends with a clean line.
    pub(super) fn finish(&mut self) {
        self.clear();
        if !self.is_at_line_start {
            self.write("\n");
        }
    }

    fn clear(&mut self) {
        if self.is_status_shown {
            self.is_status_shown = false;
            to_stderr(CLEAR_LINE);
        }
    }

    fn write(&mut self, text: &str) {
        if self.output.is_json {
            to_stderr(text);
        } else {
            // Who reads no more of the log still wants the exit code.
            let _ = output::write(text);
        }
        self.is_at_line_start = text.ends_with('\n');
    }
}

impl Observer for Progress {
    fn log(&mut self, text: &str) {
        self.clear();
        let plain = self.plain.as_mut().map(|plain| plain.take(text));
        let text = plain.as_deref().unwrap_or(text);
        if !text.is_empty() {
            self.write(text);
        }
    }

    fn status(&mut self, run: &Run) {
        if self.shows_status && self.is_at_line_start {
            let status: String = run.status.chars().filter(|character| !character.is_control()).collect();
            to_stderr(&format!("{CLEAR_LINE}{} is {} ...", run.id, status.replace('_', " ")));
            self.is_status_shown = true;
        }
    }
}

impl Drop for Progress {
    /// Also when following fails: the error must not stand behind a status.
    fn drop(&mut self) {
        self.clear();
    }
}

fn to_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    // Progress is a courtesy.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
