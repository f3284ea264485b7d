//! What was promised to people and runners, and what runners did.

use std::collections::{BTreeMap, BTreeSet};

use tfe_core::{id::Id, job::Job, run::invariants::Verdict};

use super::oracle::require;

/// What clients and runners remember.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Runs that a client was told of.
    pub(super) runs: BTreeSet<String>,
    /// The applies whose engines were started.
    started: BTreeSet<String>,
    /// Who wrote the log of a phase: by the phase's id, and by the token with which its job was claimed.
    logs: BTreeMap<String, BTreeMap<u64, Attempt>>,
    /// Logs with parts of attempts that did not know of each other.
    mixed: BTreeSet<String>,
}

/// One engine's part of a log.
#[derive(Debug)]
pub(super) struct Attempt {
    /// Where in the log it begins.
    pub(super) base: u64,
    /// All that the engine wrote.
    pub(super) text: Vec<u8>,
    /// Whether the engine's end was reported, so that all of its log must have come.
    pub(super) is_reported: bool,
}

impl Ledger {
    /// An engine begins to work on an apply.
    pub(super) fn apply_started(&mut self, job: &Id<Job>) -> Verdict {
        require(self.started.insert(job.to_string()), || format!("the apply {job} was started twice"))
    }

    /// The holder of a token, which is in force, begins to write a log from `base` on.
    pub(super) fn log_begun(&mut self, log: &str, token: u64, base: u64) {
        let attempt = Attempt { base, text: Vec::new(), is_reported: false };
        self.logs.entry(log.to_owned()).or_default().insert(token, attempt);
    }

    /// An attempt that was begun in time.
    pub(super) fn attempt(&mut self, log: &str, token: u64) -> Option<&mut Attempt> {
        self.logs.get_mut(log)?.get_mut(&token)
    }

    /// An attempt is taken up again. A runner that claimed a job twice, and did not learn of the second claim, takes up its first
    /// attempt as if nobody had written since; such a log has parts of both.
    pub(super) fn taken_up(&mut self, log: &str, token: u64) {
        let newer = self.logs.get(log).and_then(|attempts| attempts.last_key_value());
        if newer.is_some_and(|(newest, _)| *newest > token) {
            self.mixed.insert(log.to_owned());
        }
    }

    /// The log of a phase is what its engines wrote: of each the beginning, of the last one that reported its end all.
    pub(super) fn check_log(&self, log: &str, stored: &[u8]) -> Verdict {
        if self.mixed.contains(log) {
            return Ok(());
        }
        let attempts: Vec<&Attempt> = self.logs.get(log).into_iter().flat_map(BTreeMap::values).collect();
        let starts: Vec<usize> = attempts.iter().map(|attempt| usize::try_from(attempt.base).expect("logs are short")).collect();
        require(starts.first().is_none_or(|first| *first == 0) && starts.is_sorted(), || format!("parts of {log} begin at {starts:?}"))?;
        require(!attempts.is_empty() || stored.is_empty(), || format!("{log} has bytes that nobody wrote"))?;
        for (index, attempt) in attempts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(stored.len());
            let part = stored.get(starts[index]..end);
            let part = require(part.is_some(), || format!("{log} is shorter than {end} bytes")).map(|()| part.unwrap_or_default())?;
            require(attempt.text.starts_with(part), || format!("{log} differs from what was written from {} on", attempt.base))?;
            let is_whole = !attempt.is_reported || part.len() == attempt.text.len();
            require(is_whole, || format!("{log} has {} of {} bytes from {} on", part.len(), attempt.text.len(), attempt.base))?;
        }
        Ok(())
    }
}
