//! Jobs: the work a runner does for one phase of a run, under a lease with a fencing token.
//!
//! The lease says who may work until when; the fencing token says whose reports count. Each claim and each adoption
//! raises the token, and every call of a runner carries it, so that one who comes back late is refused.

mod order;

use serde::{Deserialize, Serialize};

pub use self::order::{AGING_SECONDS, fair_order};
use crate::{
    agent::FLEET,
    id::Id,
    organization::Organization,
    record,
    record::{Field, Seal},
    run::{Phase, Run},
    secret::Sealed,
    time::Timestamp,
    workspace::Workspace,
};

/// How long a lease lasts without a heartbeat, in seconds: three missed heartbeats, and a plan whose worker died is
/// planned elsewhere within ten.
pub const LEASE_SECONDS: i64 = 6;
/// How long after its lease a lost apply may still come back with its state before it is given up, in seconds. What runs
/// terraform goes on when its worker or the network dies, and a workspace that is freed too early is applied twice.
pub const APPLY_GRACE_SECONDS: i64 = 60;
/// How often a plan is started at most, when its runner is lost each time.
pub const MAX_PLAN_ATTEMPTS: u32 = 3;

/// One phase of a run, to be done by a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: Id<Job>,
    /// Since when it could be done, which is when it was queued, or shortly before ([`ready_since`](crate::run::ready_since)).
    pub created_at: Timestamp,
    /// The run it belongs to.
    pub run_id: Id<Run>,
    /// The run's workspace.
    pub workspace_id: Id<Workspace>,
    /// The workspace's organization.
    #[serde(default = "unknown")]
    pub organization_id: Id<Organization>,
    /// Whose workers may take it: [`FLEET`] for those of the installation, or the id of an agent pool.
    #[serde(default = "fleet")]
    pub queue: String,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
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

/// How urgent a job is: what changes things before what only looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Changes objects that people wait for.
    Apply,
    /// Leads to an apply.
    #[default]
    Plan,
    /// Leads to nothing.
    Speculative,
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
    /// The question that it answered, if the runner numbers its questions.
    #[serde(default)]
    pub answers: Option<Question>,
}

/// One of the questions for work of a runner's process, which asks for one job at a time: each after it has the last one's answer, or
/// has given it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The process, by something that no other process of the runner has.
    pub process: String,
    /// Rises with each question of the process.
    pub number: u64,
}

impl Question {
    /// Whether the process knew what became of `earlier` when it asked this. Of a question of another process it is not known.
    pub fn comes_after(&self, earlier: &Self) -> bool {
        self.process == earlier.process && self.number > earlier.number
    }
}

record!(Job, JOBS = "jobs", prefix: "job",
    fields: [
        Field::refers("run_id", &["run_id"], "runs"),
        Field::at("phase", &["phase"]),
        Field::at("status", &["status"]),
        Field::at("queue", &["queue"]),
        Field::at("token_digest", &["token_digest"]),
    ],
    unique: [&["run_id", "phase"], &["token_digest"]],
    indexes: [&["status"], &["queue", "status"]],
    seals: [Job::SPOOL_KEY]);

fn fleet() -> String {
    FLEET.to_owned()
}

fn unknown() -> Id<Organization> {
    Id::from("")
}

impl Priority {
    /// That of a phase of a run.
    pub fn of(phase: Phase, run: &Run) -> Self {
        match phase {
            Phase::Apply => Self::Apply,
            Phase::Plan if run.options.plan_only => Self::Speculative,
            Phase::Plan => Self::Plan,
        }
    }
}

impl Job {
    /// Where the spool key is.
    pub const SPOOL_KEY: Seal = Seal { path: &["spool_key"], context: "spool:{id}" };

    /// Gives the job to `holder` until the lease ends; the new token fences earlier holders.
    #[must_use]
    pub fn claimed(mut self, holder: &str, now: Timestamp) -> Self {
        self.status = JobStatus::Claimed;
        self.fencing_token += 1;
        self.attempts += 1;
        let answers = self.lease.and_then(|lease| lease.answers);
        self.lease = Some(Lease { holder: holder.to_owned(), expires_at: now.plus_seconds(LEASE_SECONDS), answers });
        self
    }

    /// Notes which question of its holder gave the job.
    #[must_use]
    pub fn answering(mut self, question: Option<Question>) -> Self {
        if let Some(lease) = &mut self.lease {
            lease.answers = question;
        }
        self
    }

    /// Whether `runner` was given the job and never received it, as follows from a later question of its in which it names all that
    /// it has. Without numbers nothing follows: a question that was long on its way, or one of a process that has lost its disk,
    /// names less than the runner has begun.
    pub fn never_reached(&self, runner: &str, question: &Question, holds: &[Id<Self>]) -> bool {
        let given = |lease: &Lease| lease.holder == runner && lease.answers.as_ref().is_some_and(|earlier| question.comes_after(earlier));
        self.status == JobStatus::Claimed && !holds.contains(&self.id) && self.lease.as_ref().is_some_and(given)
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

    /// Whether the job is given up, since its lease has ended and nobody may come back with its state any more.
    pub fn is_given_up(&self, now: Timestamp) -> bool {
        match self.phase {
            Phase::Plan => self.is_lost(now),
            Phase::Apply => self.is_lost(now.plus_seconds(-APPLY_GRACE_SECONDS)),
        }
    }

    /// Whether the lease has ended without the job being done.
    pub fn is_lost(&self, now: Timestamp) -> bool {
        self.status == JobStatus::Claimed && self.lease.as_ref().is_none_or(|lease| lease.expires_at <= now)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn job(id: &str, organization: &str, priority: Priority, created_at_seconds: i64) -> Job {
        Job {
            id: Id::from(id),
            created_at: Timestamp::from_millis(created_at_seconds * 1000),
            run_id: Id::from("run-1"),
            workspace_id: Id::from("ws-1"),
            organization_id: Id::from(organization),
            queue: fleet(),
            priority,
            phase: if priority == Priority::Apply { Phase::Apply } else { Phase::Plan },
            status: JobStatus::Queued,
            fencing_token: 0,
            attempts: 0,
            lease: None,
            token_digest: None,
            spool_key: Sealed::new("sealed".to_owned()),
        }
    }

    #[test]
    fn a_lost_plan_is_given_up_at_once_and_a_lost_apply_after_its_grace() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let claimed = |priority| job("job-1", "org-1", priority, 0).claimed("worker", at(0));
        let (plan, apply) = (claimed(Priority::Plan), claimed(Priority::Apply));
        assert!(!plan.is_given_up(at(LEASE_SECONDS - 1)));
        assert!(plan.is_given_up(at(LEASE_SECONDS)));
        assert!(!apply.is_given_up(at(LEASE_SECONDS + APPLY_GRACE_SECONDS - 1)));
        assert!(apply.is_given_up(at(LEASE_SECONDS + APPLY_GRACE_SECONDS)));
    }

    #[test]
    fn only_a_later_question_of_the_same_process_tells_that_a_job_never_arrived() {
        let question = |process: &str, number| Question { process: process.to_owned(), number };
        let given =
            job("job-1", "org-1", Priority::Apply, 0).claimed("worker", Timestamp::from_millis(0)).answering(Some(question("a", 2)));
        assert!(given.never_reached("worker", &question("a", 3), &[]));
        assert!(!given.never_reached("worker", &question("a", 3), std::slice::from_ref(&given.id)), "it has it");
        assert!(!given.never_reached("worker", &question("a", 2), &[]), "the same question came twice");
        assert!(!given.never_reached("worker", &question("a", 1), &[]), "a question that was long on its way");
        assert!(!given.never_reached("worker", &question("b", 9), &[]), "another process may have lost its disk");
        assert!(!given.never_reached("other", &question("a", 3), &[]), "another runner");
        let adopted = given.claimed("worker", Timestamp::from_millis(1));
        assert_eq!(adopted.lease.unwrap().answers, Some(question("a", 2)), "taken up again, it was still given then");
    }

    #[test]
    fn a_job_of_an_earlier_release_belongs_to_the_fleet() {
        let mut body = serde_json::to_value(job("job-1", "org-1", Priority::Plan, 0)).unwrap();
        for name in ["organization_id", "queue", "priority"] {
            body.as_object_mut().unwrap().remove(name);
        }
        let job: Job = serde_json::from_value(body).unwrap();
        assert_eq!((job.queue.as_str(), job.priority), (FLEET, Priority::Plan));
    }
}
