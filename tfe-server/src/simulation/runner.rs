//! A scripted runner: it calls the control plane as the real one does (`tfe-runner`'s `runner`, `lease` and `follow`), with an
//! engine that only waits, a disk in memory, and coarser ticks.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tfe_core::{
    id::{Id, random_text},
    job::{Job, Question},
    plan::Summary,
    run::Phase,
};
use tfe_runner::{
    control::{ControlError, Ticket},
    job::{Assignment, Directive, Outcome, RunnerInfo},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    machine::{Machine, Process, Spool, Work},
    mutation::Mutation,
    network::Network,
    state::State,
    world::Tasks,
};

const CONCURRENCY: usize = 2;
const CLAIM_WAIT: Duration = Duration::from_secs(20);
const CLAIM_PAUSE: Duration = Duration::from_secs(1);
const HEARTBEAT: Duration = Duration::from_secs(2);
const HEARTBEAT_PAUSE: Duration = Duration::from_millis(300);
const FOLLOW_TICK: Duration = Duration::from_millis(300);
const STATE_INTERVAL: Duration = Duration::from_millis(500);
const DIRECTIVE_WAIT: Duration = Duration::from_secs(10);
const SURRENDER_GRACE: Duration = Duration::from_secs(30);
const BROKEN_PAUSE: Duration = Duration::from_secs(5);
/// Pauses between calls that are repeated until they are answered, in milliseconds.
const REPEAT_PAUSE: std::ops::Range<u64> = 100..1_000;

/// One process of a runner.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    machine: Arc<Machine>,
    process: Arc<Process>,
    network: Arc<Network>,
}

/// Why a job is not followed any more.
enum Gone {
    Fenced,
    Broken,
}

impl From<ControlError> for Gone {
    fn from(error: ControlError) -> Self {
        if matches!(error, ControlError::Fenced) { Self::Fenced } else { Self::Broken }
    }
}

impl Runner {
    pub(super) fn new(machine: Arc<Machine>, process: Arc<Process>) -> Self {
        let network = Arc::new(Network::new(machine.clone(), process.clone()));
        Self { machine, process, network }
    }

    /// Takes up what an earlier process left, then new jobs.
    pub(super) async fn run(self) {
        let left: Vec<Work> = self.machine.disk().iter().map(|(job, spool)| Work { job: job.clone(), attempt: spool.attempt }).collect();
        for work in left {
            self.holds().insert(work.job.clone());
            let runner = self.clone();
            self.spawn(async move { runner.adopt(work).await });
        }
        let slots = Arc::new(Semaphore::new(CONCURRENCY));
        let (process, mut number) = (random_text(self.machine.world.as_ref(), 8), 0);
        loop {
            let slot = slots.clone().acquire_owned().await.expect("it is never closed");
            let (working, holds) = (CONCURRENCY - slots.available_permits() - 1, self.holds().iter().cloned().collect());
            number += 1;
            let question = Some(Question { process: process.clone(), number });
            let info = RunnerInfo { working: working as u64, holds: Some(holds), question, ..self.info() };
            match self.network.claim(&info, CLAIM_WAIT).await {
                Ok(None) => {}
                Ok(Some(assignment)) => {
                    self.holds().insert(assignment.job.clone());
                    let runner = self.clone();
                    self.spawn(async move {
                        let _slot = slot;
                        runner.work(assignment).await;
                    });
                }
                Err(_) => sleep(CLAIM_PAUSE).await,
            }
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.machine.world.spawn(&self.process.tasks, work);
    }

    /// Repeats a call until it is answered.
    async fn insist<T, F: Future<Output = Result<T, ControlError>>>(&self, call: impl Fn() -> F) -> Result<T, ControlError> {
        loop {
            match call().await {
                Err(ControlError::Unavailable(_)) => self.machine.world.wait(REPEAT_PAUSE).await,
                answer => return answer,
            }
        }
    }

    fn holds(&self) -> MutexGuard<'_, BTreeSet<Id<Job>>> {
        self.process.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does not count a job as its own any more, unless it may have begun and nobody else knows.
    fn let_go(&self, job: &Id<Job>, is_broken: bool) {
        if !is_broken {
            self.holds().remove(job);
        }
    }

    fn info(&self) -> RunnerInfo {
        RunnerInfo { name: self.machine.name.clone(), concurrency: CONCURRENCY as u64, ..RunnerInfo::default() }
    }

    /// Does a claimed job.
    async fn work(&self, assignment: Assignment) {
        let ticket = ticket(&assignment);
        self.machine.world.tell(|| format!("{} has {:?} of {}: {ticket:?}", self.machine.name, assignment.phase, assignment.run));
        let mut begun = None;
        let work = async {
            let work = self.prepare(&ticket, &assignment).await?;
            begun = Some(work.clone());
            self.machine.supervise(&work);
            self.finish(&ticket, &work, 0, assignment.phase).await
        };
        let done = self.with_lease(&ticket, work).await;
        let is_broken = matches!(done, Err(Gone::Broken));
        if let Some(work) = begun {
            self.conclude(&work, done).await;
        }
        self.let_go(&assignment.job, is_broken);
    }

    /// Leaves the mark of the job on the disk, with what its engine will need.
    async fn prepare(&self, ticket: &Ticket, assignment: &Assignment) -> Result<Work, Gone> {
        let stored = self.insist(|| self.network.log_length(ticket)).await?;
        let mut state = None;
        if assignment.phase == Phase::Apply {
            if !self.insist(|| self.network.has_plan(ticket)).await? {
                self.machine.world.fail(format!("{} has no plan to apply", assignment.run));
            }
            let current = self.insist(|| self.network.state(ticket)).await?;
            state = Some(current.map_or_else(|| State::empty(assignment.spec.workspace.clone()), |bytes| State::parsed(&bytes)));
        }
        let world = &self.machine.world;
        let (log, is_in_force) = {
            let oracle = world.oracle();
            let log = oracle.runs[assignment.run.as_str()].phase_id(assignment.phase).to_owned();
            (log, oracle.jobs[assignment.job.as_str()].fencing_token == ticket.fencing_token)
        };
        if is_in_force {
            world.ledger().log_begun(&log, ticket.fencing_token, stored);
        }
        self.machine.disk().insert(assignment.job.clone(), Spool::new(assignment, log, stored, state));
        Ok(Work { job: assignment.job.clone(), attempt: ticket.fencing_token })
    }

    /// Takes up a job that an earlier process was following.
    async fn adopt(&self, work: Work) {
        let done = async {
            let info = self.info();
            let assignment = self.insist(|| self.network.adopt(&info, &work.job)).await?;
            let ticket = ticket(&assignment);
            self.machine.world.tell(|| format!("{} adopts {work:?}: {ticket:?}", self.machine.name));
            let log = self.machine.on_disk(&work, |spool| spool.log.clone()).ok_or(Gone::Fenced)?;
            self.machine.world.ledger().taken_up(&log, work.attempt);
            if self.machine.world.is(Mutation::RestartedApplies) && assignment.phase == Phase::Apply {
                self.machine.supervise(&work);
            }
            let finish = async {
                let stored = self.insist(|| self.network.log_length(&ticket)).await?;
                let base = self.machine.on_disk(&work, |spool| spool.log_base).ok_or(Gone::Fenced)?;
                let mut sent = stored.saturating_sub(base);
                if self.machine.world.is(Mutation::RepeatedLogs) {
                    self.machine.on_disk(&work, |spool| spool.log_base = stored);
                    sent = 0;
                }
                self.finish(&ticket, &work, usize::try_from(sent).expect("logs are short"), assignment.phase).await
            };
            self.with_lease(&ticket, finish).await
        };
        let done = done.await;
        let is_broken = matches!(done, Err(Gone::Broken));
        self.conclude(&work, done).await;
        self.let_go(&work.job, is_broken);
    }

    /// Works as long as the lease is kept.
    async fn with_lease(&self, ticket: &Ticket, work: impl Future<Output = Result<(), Gone>>) -> Result<(), Gone> {
        let (lost, side) = (CancellationToken::new(), Tasks::default());
        let (runner, renewed, is_lost) = (self.clone(), ticket.clone(), lost.clone());
        self.machine.world.spawn(&side, async move {
            runner.renew(&renewed).await;
            is_lost.cancel();
        });
        tokio::select! {
            biased;
            done = work => done,
            () = lost.cancelled() => Err(Gone::Fenced),
        }
    }

    /// Renews the lease until it is lost.
    async fn renew(&self, ticket: &Ticket) {
        loop {
            match self.network.heartbeat(ticket).await {
                Ok(_) => sleep(HEARTBEAT).await,
                Err(ControlError::Unavailable(_)) => sleep(HEARTBEAT_PAUSE).await,
                Err(ControlError::Fenced | ControlError::Refused(_)) => return,
            }
        }
    }

    /// Follows a supervised job to its end and reports it.
    async fn finish(&self, ticket: &Ticket, work: &Work, sent: usize, phase: Phase) -> Result<(), Gone> {
        let mut follower = Follower { runner: self, ticket, work, sent, serial: None };
        let outcome = follower.follow().await?;
        if phase == Phase::Plan && matches!(outcome, Outcome::Planned { .. }) {
            self.insist(|| self.network.save_plan(ticket)).await?;
        }
        self.insist(|| self.network.report(ticket, &outcome)).await?;
        self.machine.world.tell(|| format!("{} has reported {work:?}", self.machine.name));
        if let Some(log) = self.machine.on_disk(work, |spool| spool.log.clone()) {
            self.machine.world.ledger().attempt(&log, work.attempt).into_iter().for_each(|attempt| attempt.is_reported = true);
        }
        Ok(())
    }

    /// Cleans up after a job.
    async fn conclude(&self, work: &Work, done: Result<(), Gone>) {
        match done {
            Err(Gone::Fenced) => self.surrender(work).await,
            Err(Gone::Broken) if self.machine.on_disk(work, |spool| spool.is_changed) == Some(true) => {
                sleep(BROKEN_PAUSE).await;
                return Box::pin(self.adopt(work.clone())).await;
            }
            Ok(()) | Err(Gone::Broken) => {}
        }
        self.machine.forget(work);
    }

    /// Ends what is left of a job that is not this runner's any more, and offers the state of an apply.
    async fn surrender(&self, work: &Work) {
        if self.machine.on_disk(work, |spool| spool.phase) == Some(Phase::Apply) {
            self.machine.on_disk(work, |spool| spool.stop = Directive::Interrupt);
            let deadline = Instant::now() + SURRENDER_GRACE;
            while self.machine.on_disk(work, |spool| spool.is_supervised) == Some(true) && Instant::now() < deadline {
                sleep(FOLLOW_TICK).await;
            }
        }
        let left = self.machine.on_disk(work, |spool| (spool.state.clone(), spool.sealed_state(&work.job)));
        if let Some((Some(state), Some(sealed))) = left {
            let late = self.insist(|| self.network.bring_late_state(&work.job, &sealed)).await;
            self.machine.world.tell(|| format!("{} brings the late state of {work:?}: {late:?}", self.machine.name));
            if late.is_ok() {
                self.acknowledged(&work.job, &state);
            }
        }
    }

    fn acknowledged(&self, job: &Id<Job>, state: &State) {
        let world = &self.machine.world;
        let verdict = {
            let mut oracle = world.oracle();
            let workspace = oracle.jobs[job.as_str()].workspace_id.to_string();
            oracle.acknowledged(&workspace, &state.resources)
        };
        world.judge(verdict);
    }
}

/// One job under supervision.
struct Follower<'f> {
    runner: &'f Runner,
    ticket: &'f Ticket,
    work: &'f Work,
    /// How much of the engine's text the control plane has.
    sent: usize,
    /// The serial of the last state that it has.
    serial: Option<u64>,
}

impl Follower<'_> {
    /// Follows until the end. The log and the last snapshot are acknowledged when this returns.
    async fn follow(&mut self) -> Result<Outcome, Gone> {
        let side = Tasks::default();
        let (runner, ticket, work) = (self.runner.clone(), self.ticket.clone(), self.work.clone());
        self.runner.machine.world.spawn(&side, async move { runner.obey(&ticket, &work).await });
        let mut state = Instant::now();
        let outcome = loop {
            let (done, is_supervised) = self.on_disk(|spool| (spool.done.clone(), spool.is_supervised))?;
            match (done, is_supervised) {
                (Some(done), _) => break done,
                (None, true) => {}
                // Its power failed: a plan is made again elsewhere, and the state of an apply is brought home.
                (None, false) if self.on_disk(|spool| spool.phase)? == Phase::Plan => return Err(Gone::Broken),
                (None, false) => break Outcome::Failed { message: "the supervisor died".to_owned(), summary: Summary::default() },
            }
            self.send_log().await?;
            if state.elapsed() >= STATE_INTERVAL {
                self.send_state().await?;
                state = Instant::now();
            }
            sleep(FOLLOW_TICK).await;
        };
        self.send_log().await?;
        self.send_state().await?;
        Ok(outcome)
    }

    fn on_disk<T>(&self, act: impl FnOnce(&mut Spool) -> T) -> Result<T, Gone> {
        self.runner.machine.on_disk(self.work, act).ok_or(Gone::Fenced)
    }

    async fn send_log(&mut self) -> Result<(), Gone> {
        let (base, text) =
            self.on_disk(|spool| (spool.log_base, Bytes::copy_from_slice(spool.text.get(self.sent..).unwrap_or_default())))?;
        if text.is_empty() {
            return Ok(());
        }
        let offset = base + self.sent as u64;
        let runner = self.runner;
        let appended = runner.insist(|| runner.network.append_log(self.ticket, offset, &text)).await;
        if let Err(ControlError::Refused(why)) = &appended {
            self.runner.machine.world.fail(format!("the log of {:?} was refused at {offset}: {why}", self.work));
        }
        self.sent += text.len();
        Ok(appended?)
    }

    async fn send_state(&mut self) -> Result<(), Gone> {
        let Some(state) = self.on_disk(|spool| spool.state.clone().filter(|_| spool.is_changed))? else { return Ok(()) };
        if self.serial == Some(state.serial) {
            return Ok(());
        }
        let content = Bytes::from(state.file());
        let runner = self.runner;
        runner.insist(|| runner.network.save_state(self.ticket, &content)).await?;
        self.runner.acknowledged(&self.work.job, &state);
        self.serial = Some(state.serial);
        Ok(())
    }
}

impl Runner {
    /// Passes the control plane's wishes on to the engine.
    async fn obey(&self, ticket: &Ticket, work: &Work) {
        while self.obey_once(ticket, work).await.is_continue() {}
    }

    async fn obey_once(&self, ticket: &Ticket, work: &Work) -> ControlFlow<()> {
        let wish = self.network.await_directive(ticket, DIRECTIVE_WAIT).await;
        let stop = match wish {
            Ok(Directive::Continue) => return ControlFlow::Continue(()),
            Ok(stop) => stop,
            Err(ControlError::Unavailable(_)) => {
                sleep(STATE_INTERVAL).await;
                return ControlFlow::Continue(());
            }
            Err(_) => return ControlFlow::Break(()),
        };
        self.machine.on_disk(work, |spool| spool.stop = stop);
        if stop == Directive::Kill {
            return ControlFlow::Break(());
        }
        sleep(STATE_INTERVAL).await;
        ControlFlow::Continue(())
    }
}

fn ticket(assignment: &Assignment) -> Ticket {
    Ticket { job: assignment.job.clone(), fencing_token: assignment.fencing_token, run_token: assignment.run_token.clone() }
}
