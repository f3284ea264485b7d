//! Replacing a running server by its successor, without a gap.
//!
//! The successor gets the very sockets and the very lock of the data directory, opens the data and serves; only then does
//! this process stop accepting. Both accept for a moment, which is safe, since nothing is true in a process: the store
//! decides. If the successor fails, this process has lost nothing and goes on.

mod control;
mod inheritance;
mod predecessor;
mod successor;

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    time::Duration,
};

use tfe_server::{
    App,
    fail_points::{UPGRADE_ANSWERED, UPGRADE_ASKED},
    own_jobs,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    control::{Answer, Request, bind, connect},
    inheritance::Inheritance,
    predecessor::Predecessor,
};
use super::{Failure, notify};

/// What a successor says once it serves.
const READY: &str = "ready";
/// What a successor is started with, besides the arguments of the server that it follows.
const FLAG: &str = "--take-over";
/// How long whoever connects may take to say what it wants; others wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest request, in bytes.
const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked whether jobs are still at work.
const IDLE_INTERVAL: Duration = Duration::from_millis(250);

/// What a server needs to be replaced.
#[derive(Debug)]
pub(crate) struct Handover {
    /// The server.
    pub(crate) app: App,
    /// The program as it was called; another one may be at that path now.
    pub(crate) binary: PathBuf,
    /// What the successor gets.
    pub(crate) inheritance: Inheritance,
    /// Ends the server.
    pub(crate) shutdown: CancellationToken,
    /// Canceled when the successor has ended too.
    pub(crate) successor_ended: CancellationToken,
}

impl Handover {
    /// Answers those who ask for an upgrade, until one has succeeded or the server ends.
    pub(crate) async fn offer(self) -> Result<(), Failure> {
        let listener = self.inheritance.control.try_clone()?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shutdown.cancelled() => return Ok(()),
            };
            let answered = match accepted {
                Ok((stream, _)) => self.answer(stream).await,
                Err(error) => {
                    // Out of file handles, most likely: others must finish first.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    Err(error.into())
                }
            };
            match answered {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "whoever asked for an upgrade could not be answered"),
            }
        }
    }

    /// Does what one asks, and says whether this server has been replaced.
    async fn answer(&self, stream: UnixStream) -> Result<bool, Failure> {
        if !control::is_trusted(stream.peer_cred()?.uid()) {
            return Ok(false);
        }
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader.take(MAX_REQUEST_BYTES));
        let mut line = String::new();
        tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await??;
        let request: Request = serde_json::from_str(&line)?;
        UPGRADE_ASKED.reach();
        let replaced = tokio::select! {
            replaced = self.replace(&request, &mut writer) => replaced,
            () = gone(reader.into_inner().into_inner()) => Err("whoever asked for the upgrade went away".into()),
            () = self.shutdown.cancelled() => Err("the server ends".into()),
        };
        self.app.health.set_paused(false);
        match replaced {
            Ok(process) => {
                tracing::info!(process, "another process serves now; this one finishes what it has begun");
                self.app.health.hand_over();
                notify::tell(&format!("MAINPID={process}"));
                let answered = write(&mut writer, &Answer::Replaced { process }).await;
                UPGRADE_ANSWERED.reach();
                self.shutdown.cancel();
                answered.map(|()| true)
            }
            Err(error) => {
                tracing::error!(%error, "the server was not replaced and goes on");
                write(&mut writer, &Answer::Refused { reason: error.to_string() }).await.map(|()| false)
            }
        }
    }

    async fn replace(&self, request: &Request, writer: &mut OwnedWriteHalf) -> Result<u32, Failure> {
        if request.when_idle {
            self.until_idle(writer).await?;
        }
        let binary: &Path = request.binary.as_deref().unwrap_or(&self.binary);
        successor::install(binary, &self.inheritance, self.successor_ended.clone()).await
    }

    /// Waits until this node's own runner has no jobs. It is given none meanwhile; what is queued keeps its order.
    async fn until_idle(&self, writer: &mut OwnedWriteHalf) -> Result<(), Failure> {
        self.app.health.set_paused(true);
        idle(|| own_jobs(&self.app), writer).await
    }
}

/// Waits until there are no jobs, and tells how many there are when that changes. Counting may fail at any time in hours of waiting;
/// the next look counts again.
async fn idle<C, E: Display>(count: impl Fn() -> C, writer: &mut OwnedWriteHalf) -> Result<(), Failure>
where
    C: Future<Output = Result<usize, E>>,
{
    let mut told = 0;
    loop {
        match count().await {
            Ok(0) => return Ok(()),
            Ok(jobs) if jobs != told => {
                write(writer, &Answer::Waiting { jobs }).await?;
                told = jobs;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "it is not known whether jobs are at work; looking again"),
        }
        tokio::time::sleep(IDLE_INTERVAL).await;
    }
}

/// Returns when the other end has gone; it says nothing more before.
async fn gone(mut reader: OwnedReadHalf) {
    let mut nothing = [0];
    while reader.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
}

async fn write(writer: &mut OwnedWriteHalf, answer: &Answer) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(writer.write_all(&line).await?)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_fails_does_not_end_the_waiting_for_jobs() {
        let looks = Mutex::new(vec![Ok(0), Err("the database is away"), Ok(2), Ok(2), Err("the database is away"), Ok(3)]);
        let count = || std::future::ready(looks.lock().unwrap().pop().unwrap());
        let (here, there) = UnixStream::pair().unwrap();
        let (reader, mut writer) = here.into_split();
        idle(count, &mut writer).await.unwrap();
        assert!(looks.lock().unwrap().is_empty());
        drop((reader, writer));
        let mut heard = String::new();
        BufReader::new(there).read_to_string(&mut heard).await.unwrap();
        let waiting = |jobs: u32| format!("{{\"answer\":\"waiting\",\"jobs\":{jobs}}}\n");
        assert_eq!(heard, waiting(3) + &waiting(2));
    }
}
