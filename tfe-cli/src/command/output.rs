//! Results on the standard output: aligned and coloured on a terminal, tabs in a pipe, JSON when asked.

mod table;

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

pub(super) use self::table::{Cell, Table, status, text};

/// How results are printed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// As JSON.
    pub(super) is_json: bool,
    /// Whether somebody looks at it.
    pub(super) is_terminal: bool,
    has_colour: bool,
}

impl Output {
    /// What this process's standard output calls for.
    pub(super) fn of_process(is_json: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        // https://no-color.org
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { is_json, is_terminal, has_colour: is_terminal && !no_color }
    }

    /// Prints the value, which is shown to people as the table.
    pub(super) fn print<T: Serialize + ?Sized>(self, value: &T, table: impl FnOnce() -> Table) -> io::Result<()> {
        if self.is_json {
            let text = serde_json::to_string_pretty(value)?;
            return write(&format!("{text}\n"));
        }
        write(&table().render(self.is_terminal, self.has_colour))
    }

    /// Prints a sentence for people; with JSON it is left out.
    pub(super) fn say(self, sentence: &str) -> io::Result<()> {
        if self.is_json { Ok(()) } else { write(&format!("{sentence}\n")) }
    }

    /// Whether escape sequences in logs are kept.
    pub(super) fn keeps_colour(self) -> bool {
        self.has_colour
    }
}

/// Writes text to the standard output as it is.
pub(super) fn write(text: &str) -> io::Result<()> {
    bytes(text.as_bytes())
}

/// Writes bytes to the standard output. Unlike `println!` it gives an error when the reader went away.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Says why it did not work.
pub(super) fn error(text: &str) {
    note(&format!("tfe: {text}"));
}

/// Says something on the standard error that is not the result.
pub(super) fn note(text: &str) {
    // Where nobody listens nothing can be said.
    let _ = writeln!(io::stderr(), "{text}");
}
