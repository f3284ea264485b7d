//! The process that takes over, as the one before it sees it.

use std::{
    ffi::OsString,
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    process::Stdio,
    time::Duration,
};

use tfe_server::fail_points::{UPGRADE_HANDED_OVER, UPGRADE_READY, UPGRADE_STARTED};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};
use tokio_util::sync::CancellationToken;

use super::{FLAG, Failure, Inheritance, READY};

/// How long a successor may take until it serves. Opening data takes a second; adding a column to a large table takes longer, and
/// nobody waits for it meanwhile.
const READY_TIMEOUT: Duration = Duration::from_mins(5);
/// Longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

/// A successor that does not serve yet; killed when dropped.
struct Candidate(Option<Child>);

/// Starts a successor with this process's arguments and environment, hands it everything, and returns its number once it serves.
/// If anything is wrong, or if this is dropped before, it is ended.
/// `ended` is canceled when it ends one day.
pub(super) async fn install(binary: &Path, inheritance: &Inheritance, ended: CancellationToken) -> Result<u32, Failure> {
    let (here, there) = UnixStream::pair()?;
    let mut command = Command::new(binary);
    let arguments = std::env::args_os().skip(1).filter(|argument| argument != FLAG);
    command.args(arguments.chain([OsString::from(FLAG)])).stdin(Stdio::from(OwnedFd::from(there)));
    let started = command.spawn().map_err(|error| format!("{} cannot be started: {error}", binary.display()))?;
    // Its end of the line must be the only one, or its death would not be seen.
    drop(command);
    let mut candidate = Candidate(Some(started));
    UPGRADE_STARTED.reach();
    if let Err(error) = inheritance.send(&here) {
        // One that has ended already says more by its status; another one learns here that there is nothing to wait for.
        tracing::warn!(%error, "nothing could be handed over");
        let _ = here.shutdown(Shutdown::Write);
    }
    UPGRADE_HANDED_OVER.reach();
    let ready = tokio::time::timeout(READY_TIMEOUT, candidate.until_ready(here)).await;
    let late = format!("the new server was not ready within {} seconds; its messages are in the server's log", READY_TIMEOUT.as_secs());
    ready.unwrap_or_else(|_| Err(late.into()))?;
    UPGRADE_READY.reach();
    candidate.succeed(ended)
}

impl Candidate {
    async fn until_ready(&mut self, line: UnixStream) -> Result<(), Failure> {
        line.set_nonblocking(true)?;
        let line = tokio::net::UnixStream::from_std(line)?;
        let mut answer = String::new();
        // A line that broke says what an empty one does: the process has ended.
        let _ = BufReader::new(line.take(MAX_ANSWER_BYTES)).read_line(&mut answer).await;
        match (answer.trim(), &mut self.0) {
            (READY, _) => Ok(()),
            ("", Some(process)) => {
                let status = process.wait().await?;
                Err(format!("the new server ended with {status} before it was ready; its messages are in the server's log").into())
            }
            (reason, _) => Err(format!("the new server cannot serve: {reason}").into()),
        }
    }

    /// From now on it lives without this process, which only waits for its end.
    fn succeed(mut self, ended: CancellationToken) -> Result<u32, Failure> {
        let mut process = self.0.take().ok_or("there is no new server")?;
        let number = process.id().ok_or("the new server has ended")?;
        tokio::spawn(async move {
            let _ = process.wait().await;
            ended.cancel();
        });
        Ok(number)
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(process) = &mut self.0 {
            // One that has ended cannot be killed, and need not be.
            let _ = process.start_kill();
        }
    }
}
