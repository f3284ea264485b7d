//! Jobs: the work a runner does for one phase of a run, under a lease with a fencing token.
//!
//! The lease says who may work until when; the fencing token says whose reports count. Each claim and each adoption
//! raises the token, and every call of a runner carries it, so that one who comes back late is refused.

use serde::{Deserialize, Serialize};

use crate::{
    id::Id,
    record,
    record::{Field, Seal},
    run::{Phase, Run},
    secret::Sealed,
    time::Timestamp,
    workspace::Workspace,
};

/// How long a lease lasts without a heartbeat, in seconds: several missed heartbeats, and still soon noticed.
pub const LEASE_SECONDS: i64 = 15;
/// How often a plan is started again after its runner was lost.
pub const MAX_PLAN_ATTEMPTS: u32 = 3;

/// One phase of a run, to be done by a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: Id<Job>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// The run it belongs to.
    pub run_id: Id<Run>,
    /// The run's workspace.
    pub workspace_id: Id<Workspace>,
    /// Plan or apply.
    pub phase: Phase,
    /// Whether a runner has it.
    pub status: JobStatus,
    /// Rises with each claim and adoption; 0 before the first.
    pub fencing_token: u64,
    /// How often it was claimed.
    pub attempts: u32,
    /// Who has it until when.
    pub lease: Option<Lease>,
    /// The digest of the token with which the claimed job's reports are signed.
    pub token_digest: Option<String>,
    /// The key under which the runner spools state, sealed by the vault.
    pub spool_key: Sealed,
}

/// Whether a runner has the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Waits for a runner.
    Queued,
    /// A runner works on it.
    Claimed,
    /// Its result is known.
    Finished,
}

/// The right of a runner to work on a job for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The runner's name.
    pub holder: String,
    /// When it ends unless renewed.
    pub expires_at: Timestamp,
}

record!(Job, JOBS = "jobs", prefix: "job",
    fields: [
        Field::refers("run_id", &["run_id"], "runs"),
        Field::at("phase", &["phase"]),
        Field::at("status", &["status"]),
        Field::at("token_digest", &["token_digest"]),
    ],
    unique: [&["run_id", "phase"], &["token_digest"]],
    indexes: [&["status"]],
    seals: [Job::SPOOL_KEY]);

impl Job {
    /// Where the spool key is.
    pub const SPOOL_KEY: Seal = Seal { path: &["spool_key"], context: "spool:{id}" };

    /// Gives the job to `holder` until the lease ends; the new token fences earlier holders.
    #[must_use]
    pub fn claimed(mut self, holder: &str, now: Timestamp) -> Self {
        self.status = JobStatus::Claimed;
        self.fencing_token += 1;
        self.attempts += 1;
        self.lease = Some(Lease { holder: holder.to_owned(), expires_at: now.plus_seconds(LEASE_SECONDS) });
        self
    }

    /// Extends the lease from now.
    #[must_use]
    pub fn renewed(mut self, now: Timestamp) -> Self {
        if let Some(lease) = &mut self.lease {
            lease.expires_at = now.plus_seconds(LEASE_SECONDS);
        }
        self
    }

    /// Puts the job back for another runner; its present holder is fenced.
    #[must_use]
    pub fn requeued(mut self) -> Self {
        self.status = JobStatus::Queued;
        self.fencing_token += 1;
        self.lease = None;
        self
    }

    /// Ends the job.
    #[must_use]
    pub fn finished(mut self) -> Self {
        self.status = JobStatus::Finished;
        self.lease = None;
        self.token_digest = None;
        self
    }

    /// Whether the lease has ended without the job being done.
    pub fn is_lost(&self, now: Timestamp) -> bool {
        self.status == JobStatus::Claimed && self.lease.as_ref().is_none_or(|lease| lease.expires_at <= now)
    }
}
