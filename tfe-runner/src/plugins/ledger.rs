//! What is known of a run's providers, in its directory but out of its reach, for as long as that exists.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::locked::Locked;
use crate::{
    files::write_fresh,
    paths::{Paths, names},
};

/// One run's providers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// The lock file.
    pub(super) lock: PathBuf,
    /// What it said before the run began.
    pub(super) locked: Vec<Locked>,
    /// What the run was given to read.
    pub(super) readable: Vec<PathBuf>,
}

impl Ledger {
    pub(super) fn read(work: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(Paths::output_in(work, names::PLUGINS)).ok()?).ok()
    }

    pub(super) fn write(&self, paths: &Paths) -> io::Result<()> {
        write_fresh(&paths.output(names::PLUGINS), &serde_json::to_vec(self)?)
    }
}
