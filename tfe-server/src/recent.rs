//! The last lines of the log, kept in memory for whoever asks for help: a service manager may have the rest, or nobody.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Lines that are kept: a few hundred kilobytes.
const MAX_LINES: usize = 2_000;
/// Longest line; the rest of a longer one is left out.
const MAX_LINE_BYTES: usize = 4_096;

/// The last lines of this process's log.
pub static RECENT: RecentLog = RecentLog { lines: Mutex::new(VecDeque::new()) };

/// Keeps the last lines that are written to it.
#[derive(Debug)]
pub struct RecentLog {
    lines: Mutex<VecDeque<String>>,
}

/// One event on its way into the log, which it reaches when this is dropped.
#[derive(Debug)]
pub struct Entry<'l> {
    log: &'l RecentLog,
    text: Vec<u8>,
}

impl RecentLog {
    /// A writer for one event.
    pub fn entry(&self) -> Entry<'_> {
        Entry { log: self, text: Vec::new() }
    }

    /// What is kept, oldest first.
    pub fn text(&self) -> String {
        self.lines().iter().fold(String::new(), |text, line| text + line + "\n")
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for Entry<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let mut lines = self.log.lines();
        for line in String::from_utf8_lossy(&self.text).lines() {
            if lines.len() == MAX_LINES {
                lines.pop_front();
            }
            lines.push_back(line.chars().take(MAX_LINE_BYTES).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let log = RecentLog { lines: Mutex::default() };
        for number in 0..MAX_LINES + 2 {
            writeln!(log.entry(), "line {number}").unwrap();
        }
        assert!(log.text().starts_with("line 2\n") && log.text().ends_with(&format!("line {}\n", MAX_LINES + 1)));
    }
}
