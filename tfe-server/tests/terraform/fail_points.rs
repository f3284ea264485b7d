//! What a death at each named point leaves behind: after a restart everything is readable, clients get answers, and what was begun
//! is done to its end. The tests go through the lists of points, so a new point is tested or its test fails.

mod kept;
mod migration;
mod rotation;
mod upgrade;

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{ExitStatus, Stdio},
};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tfe_storage::fail_point::{FailPoint, VARIABLE};

use crate::{
    harness::{command, until},
    services::{Settings, owned},
};

/// The note of whoever died, in its home.
const NOTE: &str = "died";

/// A home, and the settings of a server that dies there when it gets to the point.
fn doomed(point: FailPoint) -> (TempDir, Settings) {
    let home = tempfile::tempdir().unwrap();
    let settings = dying_at(point, home.path());
    (home, settings)
}

fn dying_at(point: FailPoint, home: &Path) -> Settings {
    owned(&[("TFE_LOG", "info"), (VARIABLE, &format!("{}={}", point.name(), home.join(NOTE).display()))])
}

/// Waits until some process has died at the point.
#[track_caller]
fn until_reached(home: &Path, point: FailPoint) {
    let note = until(point.name(), || fs::read_to_string(home.join(NOTE)).ok().filter(|note| !note.is_empty()));
    assert_eq!(note, point.name());
}

/// Requires that a process died at the point.
#[track_caller]
fn died(home: &Path, point: FailPoint, status: ExitStatus) {
    until_reached(home, point);
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{status} at {}", point.name());
}

/// Starts a server that has to die at the point before it serves.
fn dies_at_its_start(home: &Path, settings: &Settings, point: FailPoint) {
    let mut server = command(home, settings);
    server.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(home.join("data")).arg("--work-dir").arg(home.join("work"));
    let mut server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until_reached(home, point);
    died(home, point, server.wait().unwrap());
}
