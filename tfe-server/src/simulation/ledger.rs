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

    /// The holder of a token begins to write a log from `base` on.
    pub(super) fn log_begun(&mut self, log: &str, token: u64, base: u64) {
        let attempt = Attempt { base, text: Vec::new(), is_reported: false };
        self.logs.entry(log.to_owned()).or_default().insert(token, attempt);
    }

    /// An attempt that was begun.
    pub(super) fn attempt(&mut self, log: &str, token: u64) -> &mut Attempt {
        self.logs.get_mut(log).and_then(|attempts| attempts.get_mut(&token)).expect("it was begun")
    }

    /// The log of a phase is what its engines wrote: of each the beginning, of the last one that reported its end all.
    pub(super) fn check_log(&self, log: &str, stored: &[u8]) -> Verdict {
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
