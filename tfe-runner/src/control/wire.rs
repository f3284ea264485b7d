//! How [`Control`](super::Control) looks over HTTP: paths, headers and bodies, said once for both sides.
//!
//! | call | request | answer |
//! |---|---|---|
//! | `claim` | `POST claim`, [`Claim`] | 200 with an assignment, 204 for none |
//! | `leave` | `POST leave`, [`Caller`] | 204 |
//! | `adopt` | `POST jobs/{job}/adopt`, [`Caller`] | 200 with an assignment |
//! | `bring_late_state` | `PUT jobs/{job}/late-state`, the sealed snapshot | 204 |
//! | `is_over` | `GET runs/{run}/over` | 200, [`Over`] |
//! | `heartbeat` | `POST jobs/{job}/heartbeat` | 200, [`Wanted`] |
//! | `await_directive` | `POST jobs/{job}/directive`, [`Wait`] | 200, [`Wanted`] |
//! | `configuration` | `GET jobs/{job}/configuration` | 200 with the archive |
//! | `state` | `GET jobs/{job}/state` | 200, 204 for none |
//! | `save_state` | `PUT jobs/{job}/state` | 204 |
//! | `artifact` | `GET jobs/{job}/artifacts/{kind}` | 200, 204 for none |
//! | `save_artifact` | `PUT jobs/{job}/artifacts/{kind}` | 204 |
//! | `log_length` | `GET jobs/{job}/log` | 200, [`Length`] |
//! | `append_log` | `POST jobs/{job}/log?offset=N`, the bytes | 204 |
//! | `report` | `POST jobs/{job}/report`, an outcome | 204 |
//!
//! The first five carry the worker's own token, the others the run token of the assignment and, in
//! [`FENCING_TOKEN`], its fencing token. 409 says that the job is another's or over, 422 that what was sent can never be
//! taken, with the reason as text; everything else means "try again".

use serde::{Deserialize, Serialize};

use crate::job::{Directive, RunnerInfo};

/// Before all paths; the number changes when old workers and new servers could not understand each other.
pub const ROOT: &str = "/api/worker/v1";
/// The header with the fencing token.
pub const FENCING_TOKEN: &str = "x-fencing-token";
/// The status for [`ControlError::Fenced`](super::ControlError::Fenced).
pub const FENCED: u16 = 409;
/// The status for [`ControlError::Refused`](super::ControlError::Refused); the body is the reason.
pub const REFUSED: u16 = 422;
/// Longest wait that a server grants a waiting worker, in milliseconds: below the patience of proxies on the way.
pub const MAX_WAIT_MILLIS: u64 = 25_000;

/// Asks for work.
#[derive(Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Who asks.
    pub runner: RunnerInfo,
    /// How long to wait for a job.
    pub wait_millis: u64,
}

/// Says who calls.
#[derive(Debug, Serialize, Deserialize)]
pub struct Caller {
    /// Who.
    pub runner: RunnerInfo,
}

/// Says how long to wait.
#[derive(Debug, Serialize, Deserialize)]
pub struct Wait {
    /// How long.
    pub wait_millis: u64,
}

/// What the control plane wants of a job.
#[derive(Debug, Serialize, Deserialize)]
pub struct Wanted {
    /// What.
    pub directive: Directive,
}

/// How much of a log is stored.
#[derive(Debug, Serialize, Deserialize)]
pub struct Length {
    /// In bytes.
    pub bytes: u64,
}

/// Whether a run needs its working directory no more.
#[derive(Debug, Serialize, Deserialize)]
pub struct Over {
    /// Whether it is over.
    pub over: bool,
}
