//! Following a supervised job: its log, its state, and what the control plane wants of it.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tfe_core::error::chain;
use tokio::time::Instant;

use crate::{
    control::{Control, ControlError, Ticket},
    handle,
    job::Directive,
    mask::Masker,
    retry::{until_acknowledged, until_acknowledged_or},
    supervisor::{
        STATE,
        instructions::Done,
        requests::{self, Stop},
        snapshot,
    },
};

/// How often the mark of the end is looked at, and the log that nothing was sent of for a while: little enough that nobody sees a
/// delay.
const TICK: Duration = Duration::from_millis(15);
/// How often the log is sent at most: each time is a commit, and an engine writes many lines at once that people read later.
const LOG_INTERVAL: Duration = Duration::from_millis(100);
/// How often state is uploaded at most while an apply is at work.
const STATE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the supervisor's life is checked.
const LIFE_INTERVAL: Duration = Duration::from_millis(250);
/// How long one question for a directive waits.
const DIRECTIVE_WAIT: Duration = Duration::from_secs(10);
/// How long a state that is not taken is still sent after the run was force-canceled: longer than a part of the system restarts.
const FORCED_PATIENCE: Duration = Duration::from_secs(30);
/// How much of the log is read at once.
const READ_BYTES: usize = 64 * 1024;

/// How the supervision ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself, with its mark.
    Done(Done),
    /// The supervisor died.
    Lost,
}

/// One job under supervision.
pub(crate) struct Follower {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) ticket: Ticket,
    pub(crate) spool: PathBuf,
    pub(crate) log: LogTail,
    /// Base64 of the snapshots' key.
    pub(crate) spool_key: tfe_core::secret::Secret,
    last_state: Option<SystemTime>,
    refused: Option<RefusedState>,
    is_log_refused: bool,
    /// When the run was force-canceled.
    forced: Arc<OnceLock<Instant>>,
    _directives: AbortOnDrop,
}

/// The newest state of a job, that the control plane will not take.
pub(crate) struct RefusedState {
    /// Why.
    pub(crate) reason: String,
    /// It, in clear.
    pub(crate) state: Bytes,
}

/// The growing log file, masked, from where the control plane has it.
pub(crate) struct LogTail {
    path: PathBuf,
    position: u64,
    masker: Masker,
    /// How many masked bytes the control plane has already.
    skip: u64,
    sent: u64,
}

impl LogTail {
    /// `base` is how long the log was when the job began, `stored` how long it is now.
    pub(crate) fn new(path: PathBuf, masker: Masker, base: u64, stored: u64) -> Self {
        Self { path, position: 0, masker, skip: stored.saturating_sub(base), sent: stored }
    }

    /// What is new, ready to be sent.
    fn more(&mut self, is_end: bool) -> Vec<u8> {
        let mut raw = Vec::new();
        if let Ok(mut file) = fs::File::open(&self.path)
            && file.seek(SeekFrom::Start(self.position)).is_ok()
        {
            let _ = file.take(READ_BYTES as u64).read_to_end(&mut raw);
        }
        self.position += raw.len() as u64;
        let mut masked = self.masker.push(&raw);
        if is_end && raw.is_empty() {
            masked.extend(self.masker.finish());
        }
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(masked.len());
        self.skip -= known as u64;
        masked.split_off(known)
    }

    /// Whether the whole file was read.
    fn is_at_end(&self) -> bool {
        fs::metadata(&self.path).map_or(true, |file| file.len() <= self.position)
    }
}

impl Follower {
    pub(crate) fn new(
        control: Arc<dyn Control>,
        ticket: Ticket,
        spool: PathBuf,
        log: LogTail,
        spool_key: tfe_core::secret::Secret,
    ) -> Self {
        let forced = Arc::new(OnceLock::new());
        let directives = tokio::spawn(obey(control.clone(), ticket.clone(), spool.clone(), forced.clone()));
        Self {
            control,
            ticket,
            spool,
            log,
            spool_key,
            last_state: None,
            refused: None,
            is_log_refused: false,
            forced,
            _directives: AbortOnDrop(directives),
        }
    }

    /// Follows until the end. The log and the last snapshot are acknowledged, or refused for good, when this returns.
    pub(crate) async fn follow(&mut self) -> Result<End, ControlError> {
        let (mut life, mut state, mut log) = (Instant::now(), Instant::now(), Instant::now());
        let end = loop {
            if let Some(done) = handle::done(&self.spool) {
                break End::Done(done);
            }
            if log.elapsed() >= LOG_INTERVAL && self.send_log(false).await? {
                log = Instant::now();
            }
            if state.elapsed() >= STATE_INTERVAL {
                self.send_state().await?;
                state = Instant::now();
            }
            if life.elapsed() >= LIFE_INTERVAL {
                if !handle::is_supervised(&self.spool) && handle::done(&self.spool).is_none() {
                    break End::Lost;
                }
                life = Instant::now();
            }
            tokio::time::sleep(TICK).await;
        };
        if matches!(end, End::Done(_)) {
            self.finish().await?;
        }
        Ok(end)
    }

    /// Sends what is left of the log, and the last snapshot.
    pub(crate) async fn finish(&mut self) -> Result<(), ControlError> {
        while !self.log.is_at_end() {
            self.send_log(false).await?;
        }
        self.send_log(true).await?;
        self.send_state().await
    }

    /// Sends what is new of the log, and says whether anything was.
    async fn send_log(&mut self, is_end: bool) -> Result<bool, ControlError> {
        let text = Bytes::from(self.log.more(is_end));
        if text.is_empty() || self.is_log_refused {
            return Ok(false);
        }
        let offset = self.log.sent;
        match until_acknowledged(|| self.control.append_log(&self.ticket, offset, text.clone())).await {
            // The run is worth more than the rest of its log.
            Err(ControlError::Refused(reason)) => {
                tracing::error!(job = %self.ticket.job, reason, "the log of a job is not taken any more; it ends there");
                self.is_log_refused = true;
                return Ok(false);
            }
            sent => sent?,
        }
        self.log.sent += text.len() as u64;
        Ok(true)
    }

    async fn send_state(&mut self) -> Result<(), ControlError> {
        let path = self.spool.join(STATE);
        let Ok(changed) = fs::metadata(&path).and_then(|file| file.modified()) else { return Ok(()) };
        if self.last_state == Some(changed) {
            return Ok(());
        }
        let sealed = fs::read(&path).unwrap_or_default();
        if let Some(state) = snapshot::open(&self.spool_key, self.ticket.job.as_str(), &sealed) {
            self.offer(state.into()).await?;
        }
        self.last_state = Some(changed);
        Ok(())
    }

    /// Has a state stored. One that is refused is kept unless a later one is taken.
    pub(crate) async fn offer(&mut self, state: Bytes) -> Result<(), ControlError> {
        let save = || self.control.save_state(&self.ticket, state.clone());
        let reason = match until_acknowledged_or(save, || self.is_forced()).await {
            Ok(()) => {
                self.refused = None;
                return Ok(());
            }
            Err(ControlError::Refused(reason)) => reason,
            Err(ControlError::Unavailable(source)) => {
                format!("the run was force-canceled, and it was not taken until then: {}", chain(source.as_ref()))
            }
            Err(ControlError::Fenced) => return Err(ControlError::Fenced),
        };
        tracing::error!(job = %self.ticket.job, reason, "a state of an apply is not taken");
        self.refused = Some(RefusedState { reason, state });
        Ok(())
    }

    /// The newest state, if it is not taken. It is told once.
    pub(crate) fn take_refused(&mut self) -> Option<RefusedState> {
        self.refused.take()
    }

    /// Whether the run was force-canceled a while ago by a control plane that answers, so that it is the state that is in the way.
    async fn is_forced(&self) -> bool {
        let is_due = self.forced.get().is_some_and(|at| at.elapsed() >= FORCED_PATIENCE);
        is_due && self.control.heartbeat(&self.ticket).await.is_ok()
    }
}

/// Passes the control plane's wishes on to the supervisor, as files.
async fn obey(control: Arc<dyn Control>, ticket: Ticket, spool: PathBuf, forced: Arc<OnceLock<Instant>>) {
    loop {
        let stop = match control.await_directive(&ticket, DIRECTIVE_WAIT).await {
            Ok(Directive::Continue) => continue,
            Ok(Directive::Interrupt) => Stop::Interrupt,
            Ok(Directive::Kill) => Stop::Kill,
            Err(ControlError::Unavailable(_)) => {
                tokio::time::sleep(STATE_INTERVAL).await;
                continue;
            }
            Err(_) => return,
        };
        if let Err(error) = requests::make(&spool, stop) {
            tracing::error!(job = %ticket.job, %error, "a request to stop could not be passed on");
        }
        if stop == Stop::Kill {
            let _ = forced.set(Instant::now());
            return;
        }
        // The request stands; only a stronger one matters now.
        tokio::time::sleep(STATE_INTERVAL).await;
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
