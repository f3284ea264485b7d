//! Why an engine cannot be had, by what can be done about it.

use std::io;

/// Why an engine cannot be had. The texts are for whoever started the run: they say what to do, and hold no secrets.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// There is no such version, or not for this machine: another source may have it.
    #[error("{0}")]
    Missing(String),
    /// It could not be fetched this time.
    #[error("{0}")]
    Unavailable(String),
    /// What was fetched is not what it should be, and must not be used wherever it came from.
    #[error("{0}")]
    Untrusted(String),
    /// A disk of this machine did not take it or give it.
    #[error("the engine cannot be kept on this machine: {0}")]
    Disk(#[from] io::Error),
}
