//! A control plane in memory that can go away, fence, and cancel when a test wants it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    sync::Mutex,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tfe_core::{
    id::Id,
    job::Job,
    run::{Phase, Run},
};
use tfe_runner::{
    control::{ByteStream, Control, ControlError, Ticket},
    job::{ArtifactKind, Assignment, Directive, Outcome, RunnerInfo},
};

/// How often waiting calls look again.
const TICK: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(crate) struct MemoryControl(Mutex<Records>);

#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) waiting: VecDeque<Assignment>,
    pub(crate) claimed: HashMap<Id<Job>, Assignment>,
    pub(crate) archive: Bytes,
    pub(crate) log: HashMap<Id<Job>, Vec<u8>>,
    pub(crate) artifacts: BTreeMap<ArtifactKind, Bytes>,
    pub(crate) state: Option<Bytes>,
    pub(crate) outcomes: Vec<(Phase, Outcome)>,
    pub(crate) is_away: bool,
    pub(crate) interrupts: bool,
    pub(crate) is_over: bool,
    /// How many transfers to the runner still break off half-way.
    pub(crate) breaks: u32,
    pub(crate) late: HashMap<Id<Job>, Bytes>,
    /// Why states are not taken, if they are not.
    pub(crate) state_error: Option<fn() -> ControlError>,
    /// Whether the run is force-canceled.
    pub(crate) kills: bool,
    /// How many reports are still refused.
    pub(crate) refused_reports: u32,
    tokens: u64,
}

impl Records {
    fn takes_break(&mut self) -> bool {
        let breaks = self.breaks > 0;
        self.breaks = self.breaks.saturating_sub(1);
        breaks
    }

    /// The content, or its first half and an error.
    fn transfer(&mut self, content: Bytes) -> ByteStream {
        if !self.takes_break() {
            return whole(content);
        }
        let half = content.slice(..content.len() / 2);
        stream::iter([Ok(half), Err(io::Error::from(io::ErrorKind::ConnectionReset))]).boxed()
    }
}

impl MemoryControl {
    /// Looks at or changes what is known.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Records) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// Lets a call through unless the control plane is away or the ticket is stale.
    fn held<T>(&self, ticket: &Ticket, act: impl FnOnce(&mut Records) -> T) -> Result<T, ControlError> {
        self.reached(|records| match records.claimed.get(&ticket.job) {
            Some(assignment) if assignment.fencing_token == ticket.fencing_token => Ok(act(records)),
            _ => Err(ControlError::Fenced),
        })?
    }

    fn reached<T>(&self, act: impl FnOnce(&mut Records) -> T) -> Result<T, ControlError> {
        self.with(|records| if records.is_away { Err(ControlError::Unavailable("away".into())) } else { Ok(act(records)) })
    }

    fn directive(&self, ticket: &Ticket) -> Result<Directive, ControlError> {
        self.held(ticket, |records| match (records.kills, records.interrupts) {
            (true, _) => Directive::Kill,
            (false, true) => Directive::Interrupt,
            (false, false) => Directive::Continue,
        })
    }
}

#[async_trait]
impl Control for MemoryControl {
    async fn claim(&self, _: &RunnerInfo, _: Duration) -> Result<Option<Assignment>, ControlError> {
        let claimed = self.reached(|records| {
            let mut next = records.waiting.pop_front()?;
            records.tokens += 1;
            next.fencing_token = records.tokens;
            records.claimed.insert(next.job.clone(), next.clone());
            Some(next)
        })?;
        if claimed.is_none() {
            tokio::time::sleep(TICK).await;
        }
        Ok(claimed)
    }

    async fn adopt(&self, _: &RunnerInfo, job: &Id<Job>) -> Result<Assignment, ControlError> {
        self.reached(|records| {
            records.tokens += 1;
            let assignment = records.claimed.get_mut(job).ok_or(ControlError::Fenced)?;
            assignment.fencing_token = records.tokens;
            Ok(assignment.clone())
        })?
    }

    async fn leave(&self, _: &RunnerInfo) -> Result<(), ControlError> {
        self.reached(|_| ())
    }

    async fn bring_late_state(&self, job: &Id<Job>, sealed: Bytes) -> Result<(), ControlError> {
        self.reached(|records| drop(records.late.insert(job.clone(), sealed)))
    }

    async fn heartbeat(&self, ticket: &Ticket) -> Result<Directive, ControlError> {
        self.directive(ticket)
    }

    async fn await_directive(&self, ticket: &Ticket, wait: Duration) -> Result<Directive, ControlError> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let directive = self.directive(ticket)?;
            if directive != Directive::Continue || tokio::time::Instant::now() >= deadline {
                return Ok(directive);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn configuration(&self, ticket: &Ticket) -> Result<ByteStream, ControlError> {
        self.held(ticket, |records| records.transfer(records.archive.clone()))
    }

    async fn state(&self, ticket: &Ticket) -> Result<Option<Bytes>, ControlError> {
        self.held(ticket, |records| {
            if records.takes_break() { Err(ControlError::Unavailable("broken off".into())) } else { Ok(records.state.clone()) }
        })?
    }

    async fn artifact(&self, ticket: &Ticket, kind: ArtifactKind) -> Result<Option<ByteStream>, ControlError> {
        self.held(ticket, |records| {
            let content = records.artifacts.get(&kind).cloned();
            content.map(|content| records.transfer(content))
        })
    }

    async fn save_artifact(&self, ticket: &Ticket, kind: ArtifactKind, content: ByteStream) -> Result<(), ControlError> {
        let parts: Vec<Bytes> = content.try_collect().await.map_err(|error| ControlError::Unavailable(error.into()))?;
        self.held(ticket, |records| drop(records.artifacts.insert(kind, parts.concat().into())))
    }

    async fn log_length(&self, ticket: &Ticket) -> Result<u64, ControlError> {
        self.held(ticket, |records| records.log.entry(ticket.job.clone()).or_default().len() as u64)
    }

    async fn append_log(&self, ticket: &Ticket, offset: u64, content: Bytes) -> Result<(), ControlError> {
        self.held(ticket, |records| {
            let log = records.log.entry(ticket.job.clone()).or_default();
            let known = log.len() - usize::try_from(offset).unwrap();
            log.extend_from_slice(content.get(known..).unwrap_or_default());
        })
    }

    async fn save_state(&self, ticket: &Ticket, content: Bytes) -> Result<(), ControlError> {
        self.held(ticket, |records| {
            if let Some(error) = records.state_error {
                return Err(error());
            }
            records.state = Some(content);
            Ok(())
        })?
    }

    async fn report(&self, ticket: &Ticket, outcome: Outcome) -> Result<(), ControlError> {
        self.held(ticket, |records| {
            if records.refused_reports > 0 {
                records.refused_reports -= 1;
                return Err(ControlError::Refused("not now".to_owned()));
            }
            if let Some(assignment) = records.claimed.remove(&ticket.job) {
                records.outcomes.push((assignment.phase, outcome));
            }
            Ok(())
        })?
    }

    async fn is_over(&self, _: &Id<Run>) -> Result<bool, ControlError> {
        self.reached(|records| records.is_over)
    }
}

fn whole(content: Bytes) -> ByteStream {
    stream::iter([Ok::<_, io::Error>(content)]).boxed()
}
