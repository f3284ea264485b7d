//! Requests to a supervisor: files that appear, so that they outlive both sides.

use std::{fs, io, path::Path};

/// The file that asks for an interrupt.
const INTERRUPT: &str = "interrupt";
/// The file that asks for the end at once.
const KILL: &str = "kill";

/// How the engine is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// It saves what it has, and ends.
    Interrupt,
    /// It ends.
    Kill,
}

/// Makes a request; making it again changes nothing.
pub(crate) fn make(spool: &Path, stop: Stop) -> io::Result<()> {
    fs::write(spool.join(if stop == Stop::Kill { KILL } else { INTERRUPT }), [])
}

/// The strongest request that was made.
pub(crate) fn made(spool: &Path) -> Option<Stop> {
    let exists = |name| spool.join(name).exists();
    exists(KILL).then_some(Stop::Kill).or_else(|| exists(INTERRUPT).then_some(Stop::Interrupt))
}
