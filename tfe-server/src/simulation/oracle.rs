//! What every commit is held against: a copy of the records that matter, and the invariants.
//!
//! The oracle sees each commit at the moment in which it happens, whichever process made it and whether or not that process ever
//! learns of it. So there is no state between two looks that could be missed.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tfe_core::{
    duty::{DUTIES, Duty},
    job::{JOBS, Job, JobStatus},
    log::LOG_CHUNKS,
    record::Record,
    run::{
        RUNS, Run, Status,
        invariants::{self, Verdict, Violation},
    },
    state_version::{STATE_VERSIONS, StateVersion},
    time::Timestamp,
    workspace::{WORKSPACES, Workspace},
};
use tfe_runner::control::Ticket;
use tfe_storage::Write;

tokio::task_local! {
    /// On whose behalf a node works: set while it answers a runner's call about a job.
    pub(super) static CALLER: Ticket;
    /// The name of the runner that a node looks for work for.
    pub(super) static CLAIMANT: String;
}

/// Which node commits.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) node: String,
    /// The latest time that it may have decided by.
    pub(super) latest: Timestamp,
}

/// The records that matter, as the store has them, and what was promised to somebody.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) runs: BTreeMap<String, Run>,
    pub(super) workspaces: BTreeMap<String, Workspace>,
    pub(super) jobs: BTreeMap<String, Job>,
    states: BTreeMap<String, StateVersion>,
    duty: Option<Duty>,
    /// How many commits there were.
    commits: u64,
    /// When runs began to wait for a workspace, as a number of commits.
    waiting_since: BTreeMap<String, u64>,
    /// When the task that commits now looked for waiting runs last.
    looks: BTreeMap<tokio::task::Id, u64>,
    /// The messages of all runs: each request has its own.
    requests: BTreeSet<String>,
    /// The resources of each workspace whose state was acknowledged.
    acknowledged: BTreeMap<String, BTreeSet<String>>,
}

/// A write, as far as it matters.
pub(super) enum Change {
    Run(Box<Run>),
    Workspace(Box<Workspace>),
    Job(Box<Job>),
    State(Box<StateVersion>),
    Duty(Duty),
    Log,
    Deleted(&'static str, String),
    Other,
}

impl Change {
    pub(super) fn of(write: &Write) -> Self {
        match write {
            Write::Insert(kind, record) | Write::Update(kind, record) => match kind.name {
                name if name == RUNS.name => Self::Run(Box::new(parsed(&record.body))),
                name if name == WORKSPACES.name => Self::Workspace(Box::new(parsed(&record.body))),
                name if name == JOBS.name => Self::Job(Box::new(parsed(&record.body))),
                name if name == STATE_VERSIONS.name => Self::State(Box::new(parsed(&record.body))),
                name if name == DUTIES.name => Self::Duty(parsed(&record.body)),
                name if name == LOG_CHUNKS.name => Self::Log,
                _ => Self::Other,
            },
            Write::Delete { kind, id, .. } => Self::Deleted(kind.name, id.clone()),
            Write::Check { .. } => Self::Other,
        }
    }
}

fn parsed<T: Record + DeserializeOwned>(body: &Value) -> T {
    T::deserialize(body).expect("what is stored can be read")
}

impl Oracle {
    /// A task looks for waiting runs, to decide whose turn it is.
    pub(super) fn looked(&mut self) {
        if let Some(task) = tokio::task::try_id() {
            self.looks.insert(task, self.commits);
        }
    }

    /// Takes note of a commit that just happened, or says what is wrong with it.
    pub(super) fn committed(&mut self, committer: &Committer, changes: Vec<Change>) -> Verdict {
        self.commits += 1;
        self.is_in_force(&changes)?;
        self.is_given_up_in_time(committer, &changes)?;
        let (mut workspaces, mut runs) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            match change {
                Change::Run(run) => {
                    workspaces.insert(run.workspace_id.to_string());
                    runs.insert(run.id.to_string());
                    self.run(*run)?;
                }
                Change::Job(job) => {
                    workspaces.insert(job.workspace_id.to_string());
                    runs.insert(job.run_id.to_string());
                    self.job(*job)?;
                }
                Change::Workspace(workspace) => {
                    workspaces.insert(workspace.id.to_string());
                    self.workspace(*workspace)?;
                }
                Change::State(version) => {
                    workspaces.insert(version.workspace_id.to_string());
                    self.state(*version)?;
                }
                Change::Duty(duty) => self.duty = Some(duty),
                Change::Deleted(kind, id) => require(kind != RUNS.name && kind != STATE_VERSIONS.name, || format!("{id} was deleted"))?,
                Change::Log | Change::Other => {}
            }
        }
        workspaces.iter().try_for_each(|workspace| self.is_consistent(workspace))?;
        runs.iter()
            .filter_map(|run| self.runs.get(run))
            .try_for_each(|run| invariants::has_the_jobs_it_needs(run, self.jobs.values().filter(|job| job.run_id == run.id)))
    }

    /// What a runner's call writes counts only under the token in force.
    fn is_in_force(&self, changes: &[Change]) -> Verdict {
        let is_about_a_job =
            changes.iter().any(|change| matches!(change, Change::Run(_) | Change::Job(_) | Change::State(_) | Change::Log));
        let Ok(ticket) = CALLER.try_with(Clone::clone) else { return Ok(()) };
        let job = self.jobs.get(ticket.job.as_str());
        let is_in_force = job.is_some_and(|job| job.status == JobStatus::Claimed && job.fencing_token == ticket.fencing_token);
        require(!is_about_a_job || is_in_force, || format!("a write under token {} of {} was accepted", ticket.fencing_token, ticket.job))
    }

    /// A job is taken from its runner by the holder of the duty alone, after the lease and its grace.
    fn is_given_up_in_time(&self, committer: &Committer, changes: &[Change]) -> Verdict {
        if CALLER.try_with(|_| ()).is_ok() {
            return Ok(());
        }
        for change in changes {
            let Change::Job(after) = change else { continue };
            let Some(before) = self.jobs.get(after.id.as_str()).filter(|job| job.status == JobStatus::Claimed) else { continue };
            let holder = before.lease.as_ref().map(|lease| &lease.holder);
            let is_given_back = CLAIMANT.try_with(|claimant| Some(claimant) == holder).unwrap_or(false);
            if after.status == JobStatus::Claimed || is_given_back {
                continue;
            }
            require(before.is_given_up(committer.latest), || format!("{} was given up before its time", before.id))?;
            let holder = self.duty.as_ref().map(|duty| duty.holder.as_str());
            require(holder == Some(&committer.node), || format!("{} gave up a job, but {holder:?} has the duty", committer.node))?;
        }
        Ok(())
    }

    fn run(&mut self, run: Run) -> Verdict {
        let key = run.id.to_string();
        match self.runs.get(&key) {
            None => {
                require(self.requests.insert(run.message.clone()), || format!("the request {} made two runs", run.message))?;
                let same_place = |other: &Run| other.workspace_id == run.workspace_id && other.sequence == run.sequence;
                require(!self.runs.values().any(same_place), || format!("two runs have the place of {key}"))?;
            }
            Some(before) => {
                invariants::moves_along_the_table(before, &run)?;
                if before.waits_for_workspace() && matches!(run.status, Status::PlanQueued | Status::ApplyQueued) {
                    let looked = tokio::task::try_id().and_then(|task| self.looks.get(&task)).copied().unwrap_or(self.commits);
                    let waited = |other: &&Run| {
                        other.workspace_id == run.workspace_id
                            && self.waiting_since.get(other.id.as_str()).is_some_and(|since| *since < looked)
                    };
                    invariants::is_admitted_in_turn(before, self.runs.values().filter(waited))?;
                }
            }
        }
        if run.waits_for_workspace() && self.runs.get(&key).is_none_or(|before| before.status != run.status) {
            self.waiting_since.insert(key.clone(), self.commits);
        }
        self.runs.insert(key, run);
        Ok(())
    }

    fn job(&mut self, job: Job) -> Verdict {
        if let Some(before) = self.jobs.get(job.id.as_str()) {
            invariants::is_fenced(before, &job)?;
        }
        self.jobs.insert(job.id.to_string(), job);
        Ok(())
    }

    fn workspace(&mut self, workspace: Workspace) -> Verdict {
        let serial = |workspace: Option<&Workspace>| self.current(workspace?).map(|version| version.serial);
        let key = workspace.id.to_string();
        let (before, after) = (serial(self.workspaces.get(&key)), serial(Some(&workspace)));
        require(after >= before, || format!("the state of {key} went back from {before:?} to {after:?}"))?;
        self.workspaces.insert(key, workspace);
        Ok(())
    }

    fn state(&mut self, version: StateVersion) -> Verdict {
        let before = self.states.get(version.id.as_str()).map_or(0, |before| before.serial);
        require(version.serial >= before, || format!("{} went back from {before} to {}", version.id, version.serial))?;
        self.states.insert(version.id.to_string(), version);
        Ok(())
    }

    fn current(&self, workspace: &Workspace) -> Option<&StateVersion> {
        self.states.get(workspace.current_state_version_id.as_ref()?.as_str())
    }

    fn is_consistent(&self, id: &str) -> Verdict {
        let Some(workspace) = self.workspaces.get(id) else { return Ok(()) };
        let runs = self.runs.values().filter(|run| run.workspace_id.as_str() == id);
        let jobs = self.jobs.values().filter(|job| job.workspace_id.as_str() == id);
        invariants::is_held_by_who_needs_it(workspace, runs)?;
        invariants::is_applied_once_at_a_time(workspace, jobs)?;
        self.has_what_was_acknowledged(id)
    }

    fn has_what_was_acknowledged(&self, id: &str) -> Verdict {
        let Some(acknowledged) = self.acknowledged.get(id) else { return Ok(()) };
        let current = self.workspaces.get(id).and_then(|workspace| self.current(workspace));
        let names: BTreeSet<&str> = current.iter().flat_map(|version| &version.resources).map(|resource| resource.name.as_str()).collect();
        let missing = acknowledged.iter().find(|name| !names.contains(name.as_str()));
        require(missing.is_none(), || format!("the state of {id} has lost {missing:?}, which was acknowledged"))
    }

    /// A state with these resources was acknowledged.
    pub(super) fn acknowledged(&mut self, workspace: &str, resources: &[String]) -> Verdict {
        self.acknowledged.entry(workspace.to_owned()).or_default().extend(resources.iter().cloned());
        self.has_what_was_acknowledged(workspace)
    }
}

pub(super) fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Violation(otherwise())) }
}
