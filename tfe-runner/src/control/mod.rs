//! What a job needs of the control plane, as a trait: in-process, or over HTTP.

mod http;
pub mod wire;

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, future::try_join_all, stream, stream::BoxStream};
use tfe_core::{id::Id, job::Job, run::Run};

pub use self::http::{HttpControl, HttpControlError};
use crate::{
    job::{ArtifactKind, Assignment, Directive, Outcome, RunnerInfo},
    retry::until_acknowledged,
};

/// A stream of bytes that may fail on the way.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

/// Names a job and proves the right to speak for it.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The job.
    pub job: Id<Job>,
    /// The token of the claim or adoption in force.
    pub fencing_token: u64,
    /// The run token of the assignment.
    pub run_token: tfe_core::secret::Secret,
}

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The job is finished, or another runner has it: stop working on it and forget it.
    #[error("this runner no longer has the job")]
    Fenced,
    /// What was sent can never be accepted, whoever sends it again; the text says why.
    #[error("refused: {0}")]
    Refused(String),
    /// The control plane could not be reached or could not answer: try again, for ever.
    #[error("the control plane did not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The control plane as a runner sees it.
///
/// # Contract
/// Every call is idempotent: a runner repeats it until it is acknowledged or [`ControlError::Fenced`].
/// An acknowledged call is durable.
#[async_trait]
pub trait Control: Debug + Send + Sync + 'static {
    /// Takes a queued job, waiting up to `wait` for one.
    async fn claim(&self, runner: &RunnerInfo, wait: Duration) -> Result<Option<Assignment>, ControlError>;

    /// Says that this runner takes no more jobs, so that nobody counts on it.
    async fn leave(&self, runner: &RunnerInfo) -> Result<(), ControlError>;

    /// Takes up again, under a new token, a job that this runner (by name) claimed before it was restarted.
    async fn adopt(&self, runner: &RunnerInfo, job: &Id<Job>) -> Result<Assignment, ControlError>;

    /// Brings the last state of an apply that was given up in the meantime, as sealed in the spool. It is taken if nothing has
    /// changed the workspace's state since, else refused; either way it need not be sent again.
    async fn bring_late_state(&self, job: &Id<Job>, sealed: Bytes) -> Result<(), ControlError>;

    /// Renews the lease and asks what to do.
    async fn heartbeat(&self, ticket: &Ticket) -> Result<Directive, ControlError>;

    /// Waits up to `wait` for a directive other than `Continue`; so that a cancel arrives at once.
    async fn await_directive(&self, ticket: &Ticket, wait: Duration) -> Result<Directive, ControlError>;

    /// The configuration version's archive (gzip of tar).
    async fn configuration(&self, ticket: &Ticket) -> Result<ByteStream, ControlError>;

    /// The workspace's current state, if it has one.
    async fn state(&self, ticket: &Ticket) -> Result<Option<Bytes>, ControlError>;

    /// An artifact of the run's plan, if there is one.
    async fn artifact(&self, ticket: &Ticket, kind: ArtifactKind) -> Result<Option<ByteStream>, ControlError>;

    /// Stores an artifact; the last one of a kind counts.
    async fn save_artifact(&self, ticket: &Ticket, kind: ArtifactKind, content: ByteStream) -> Result<(), ControlError>;

    /// Stores several artifacts, each as [`save_artifact`](Self::save_artifact) does. Where that can be one step, it is.
    async fn save_artifacts(&self, ticket: &Ticket, artifacts: &[(ArtifactKind, Bytes)]) -> Result<(), ControlError> {
        let saves = artifacts.iter().map(|(kind, content)| {
            // One at a time is sent again, since each may be large.
            until_acknowledged(move || self.save_artifact(ticket, *kind, stream::iter([Ok(content.clone())]).boxed()))
        });
        try_join_all(saves).await.map(drop)
    }

    /// How many bytes of this phase's log are stored.
    async fn log_length(&self, ticket: &Ticket) -> Result<u64, ControlError>;

    /// Appends to the log. `offset` is the length stored so far; what is stored already is not appended again.
    async fn append_log(&self, ticket: &Ticket, offset: u64, content: Bytes) -> Result<(), ControlError>;

    /// Stores a state of the workspace. Snapshots with a serial that is stored already are acknowledged and dropped.
    async fn save_state(&self, ticket: &Ticket, content: Bytes) -> Result<(), ControlError>;

    /// Ends the job. After this the ticket is worthless. The log and, after an apply, the final state are complete before this.
    async fn report(&self, ticket: &Ticket, outcome: Outcome) -> Result<(), ControlError>;

    /// Whether the run needs its working directory no more (it is over). Unknown runs are over.
    async fn is_over(&self, run: &Id<Run>) -> Result<bool, ControlError>;
}
