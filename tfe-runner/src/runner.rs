//! The runner: takes jobs, gets them supervised, follows them, reports.

mod ending;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nix::fcntl::Flock;
use tfe_core::{
    error::chain,
    id::Id,
    job::{Job, Question},
    run::Phase,
};
use tokio::{io::AsyncWriteExt, sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    admission,
    config::RunnerConfig,
    control::{Control, ControlError, Ticket},
    files::{is_locked, lock, private_directory},
    follow::{End, Follower, LogTail, RefusedState},
    handle::{self, Handle},
    job::{Assignment, EngineKind, Outcome, RunnerInfo},
    lease::{Lease, Lost},
    mask::Masker,
    masks,
    paths::Paths,
    plugins::Plugins,
    prepare::{self, PrepareError},
    recover, report,
    retry::until_acknowledged,
    supervisor::{instructions::Instructions, orphan::RUNNER_LOCK, snapshot},
    tools::{ToolError, Tools},
};

/// How long one question for work waits.
const CLAIM_WAIT: Duration = Duration::from_secs(20);
/// The pause after a question that was not answered.
const CLAIM_PAUSE: Duration = Duration::from_secs(1);
/// How often a plan is started again here after its supervisor died, before it is left to others.
const MAX_PLAN_STARTS: u32 = 3;
/// How long a control plane may take to note that this runner leaves.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a supervisor may take to hold its lock: some milliseconds, on a busy machine some seconds.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long an earlier process of this runner may take to let the spool directory go: as long as it may take to begin with what it has
/// claimed, and a little more.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// How often its lock is tried meanwhile.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);
/// How long the answer to a question for work may be away when this process ends: what it gives would be claimed, and nobody's.
const CLAIM_GRACE: Duration = Duration::from_secs(2);
/// How long to wait before a job that could not go on is taken up again: well within the time for which an apply without a lease is
/// waited for.
const BROKEN_PAUSE: Duration = Duration::from_secs(5);
/// How often a courier looks whether the runner is back.
const RUNNER_INTERVAL: Duration = Duration::from_millis(250);
/// How long jobs that have not begun may take to when this process ends: an apply that was claimed and never began could only be given
/// up. Preparing takes a second, with an archive of a configuration from far away some more.
const BEGIN_GRACE: Duration = Duration::from_secs(20);

/// Runs jobs of a control plane on this machine.
#[derive(Debug)]
pub struct Runner {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: RunnerConfig,
    control: Arc<dyn Control>,
    tools: Tools,
    plugins: Option<Plugins>,
    info: RunnerInfo,
    /// The jobs that are here, from before their first step until after their last, and since when. A job that was lost and given
    /// to this runner again is here twice until the earlier attempt has ended.
    holds: Mutex<BTreeMap<(Id<Job>, Attempt), Instant>>,
    /// Whether this process ends: jobs that have begun are left to the next one.
    leaving: CancellationToken,
    /// The jobs that broke here. They may have begun, so nobody may conclude that they never came; few break, and this is empty at
    /// each start.
    broken: Mutex<BTreeSet<Id<Job>>>,
}

/// Tells apart attempts at one job: the token with which it was claimed, [`TAKEN_UP`] for one of an earlier process.
type Attempt = u64;

/// No claim has this token.
const TAKEN_UP: Attempt = 0;

/// Why a job is not followed any more.
enum Gone {
    /// It is another's.
    Fenced,
    /// Something here is broken; the lease will end and the job will be given to another.
    Broken(String),
    /// This process ends; the next one takes the job up.
    Left,
}

/// What is left to do about a job that is not followed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Nothing,
    /// It is to be taken up again, since what it left is not home yet.
    TakeUp,
}

impl Runner {
    /// A runner that looks for engines now and for work when it [runs](Self::run).
    pub fn new(config: RunnerConfig, control: Arc<dyn Control>) -> Self {
        let tools = Tools::open(&config.tool_paths, &config.tools);
        let names = EngineKind::ALL.map(|kind| (kind.program().to_owned(), tools.names(kind)));
        let info = RunnerInfo {
            name: config.name.clone(),
            tools: names.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            concurrency: config.concurrency.max(1) as u64,
            working: 0,
            holds: None,
            question: None,
        };
        let plugins = config.plugins.as_ref().map(|root| Plugins::at(root, &config.work_root));
        let (holds, broken, leaving) = (Mutex::default(), Mutex::default(), CancellationToken::new());
        Self { shared: Arc::new(Shared { config, control, tools, plugins, info, holds, leaving, broken }) }
    }

    /// Takes up what an earlier process left, then new jobs. After `drain` it takes no new ones and returns once those it has
    /// are done; `end` returns as soon as those that it was given have begun. They go on after that and are taken up by the next
    /// process, which may be there already and waits.
    pub async fn run(self, drain: CancellationToken, end: CancellationToken) {
        let lock = tokio::select! {
            lock = self.shared.lock() => lock,
            () = end.cancelled() => return,
        };
        let _lock = match lock {
            Ok(lock) => lock,
            Err(error) => return tracing::error!(%error, "another runner uses the spool directory, or it cannot be made; no jobs are run"),
        };
        admission::check(self.shared.config.isolation.limits.memory_bytes);
        if let Some(plugins) = &self.shared.plugins {
            plugins.sweep();
        }
        let mut jobs = JoinSet::new();
        for handle in self.shared.left_behind() {
            self.shared.holds().insert((handle.job.clone(), TAKEN_UP), Instant::now());
            let shared = self.shared.clone();
            jobs.spawn(async move {
                tokio::select! {
                    () = shared.leaving.cancelled() => {}
                    () = shared.adopt(handle) => {}
                }
            });
        }
        let sweeper = tokio::spawn(ending::sweep(self.shared.clone()));
        self.take_jobs(&mut jobs, || async {
            tokio::select! {
                () = drain.cancelled() => {}
                () = end.cancelled() => {}
            }
        })
        .await;
        if !end.is_cancelled() {
            let _ = tokio::time::timeout(LEAVE_TIMEOUT, self.shared.control.leave(&self.shared.info)).await;
            tokio::select! {
                () = end.cancelled() => {}
                () = all(&mut jobs) => {}
            }
        }
        sweeper.abort();
        self.shared.leaving.cancel();
        let _ = tokio::time::timeout(BEGIN_GRACE, all(&mut jobs)).await;
        jobs.shutdown().await;
    }

    /// Brings home one job in place of a runner of this name that has died. When that is back it takes the job up itself: it may reach
    /// a control plane that this one cannot.
    pub async fn bring_home(self, job: &Id<Job>) {
        let Some(handle) = Handle::read(&self.shared.config.spool_root.join(job.as_str())) else { return };
        tokio::select! {
            () = self.shared.adopt(handle) => {}
            () = self.shared.until_the_runner_is_back() => tracing::info!(%job, "its runner is back and takes it up"),
        }
    }

    /// Asks for jobs and begins them, until `stopped` returns.
    async fn take_jobs<F: Future<Output = ()>>(&self, jobs: &mut JoinSet<()>, stopped: impl Fn() -> F) {
        let slots = Arc::new(Semaphore::new(self.shared.config.concurrency.max(1)));
        let mut is_away = false;
        // Without chance the questions are not numbered, and an answer that gets lost costs the end of a lease.
        let (process, mut number) = (getrandom::u64().ok().map(|chance| format!("{chance:016x}")), 0);
        loop {
            while jobs.try_join_next().is_some() {}
            let slot = tokio::select! {
                () = stopped() => return,
                slot = slots.clone().acquire_owned() => slot,
            };
            tokio::select! {
                () = stopped() => return,
                () = self.shared.has_memory() => {}
            }
            let free = slots.available_permits() as u64 + 1;
            let working = self.shared.info.concurrency.saturating_sub(free);
            let holds = self.shared.received();
            number += 1;
            let question = process.clone().map(|process| Question { process, number });
            let info = RunnerInfo { working, holds: Some(holds), question, ..self.shared.info.clone() };
            let claimed = tokio::select! {
                () = async { stopped().await; tokio::time::sleep(CLAIM_GRACE).await } => return,
                claimed = self.shared.control.claim(&info, CLAIM_WAIT) => claimed,
            };
            match claimed {
                Ok(None) => is_away = false,
                Ok(Some(assignment)) => {
                    is_away = false;
                    self.shared.holds().insert((assignment.job.clone(), assignment.fencing_token), Instant::now());
                    let shared = self.shared.clone();
                    jobs.spawn(async move {
                        let _slot = slot;
                        shared.work(assignment).await;
                    });
                }
                Err(error) => {
                    if !is_away {
                        tracing::warn!(error = chain(&error), "no work could be asked for; trying again until it can");
                    }
                    is_away = true;
                    tokio::time::sleep(CLAIM_PAUSE).await;
                }
            }
        }
    }
}

impl Shared {
    /// The right to the spool directory; its loss tells supervisors that the runner is gone. An earlier process that is being replaced
    /// gives it back when it has begun what it was given.
    async fn lock(&self) -> io::Result<Flock<fs::File>> {
        private_directory(&self.config.spool_root)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match lock(&self.config.spool_root.join(RUNNER_LOCK)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_INTERVAL).await;
                }
                locked => return locked,
            }
        }
    }

    fn holds(&self) -> MutexGuard<'_, BTreeMap<(Id<Job>, Attempt), Instant>> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs that reached this process and may have begun.
    fn received(&self) -> Vec<Id<Job>> {
        let holds: Vec<_> = self.holds().keys().map(|(job, _)| job.clone()).collect();
        holds.into_iter().chain(self.broken().iter().cloned()).collect()
    }

    fn broken(&self) -> MutexGuard<'_, BTreeSet<Id<Job>>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once there is memory for one more run.
    async fn has_memory(&self) {
        let young = || self.holds().values().filter(|taken| taken.elapsed() < admission::SETTLING).count();
        admission::until_fits(self.config.isolation.limits.memory_bytes, young, || self.holds().is_empty()).await;
    }

    /// The jobs that an earlier process of this runner was following.
    fn left_behind(&self) -> Vec<Handle> {
        let entries = fs::read_dir(&self.config.spool_root).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| Handle::read(&entry.path())).collect()
    }

    /// Does a claimed job.
    async fn work(&self, assignment: Assignment) {
        let paths = Paths::new(&self.config, &assignment.job, &assignment.run);
        let held = (assignment.job.clone(), assignment.fencing_token);
        let mut following = None;
        let done = self.begin_and_follow(assignment, &paths, &mut following).await;
        let next = self.conclude(&held, &paths, done).await;
        // Taken up again as if from an earlier process, which is followed by one at a time.
        drop(following);
        if next == Next::TakeUp {
            tokio::select! {
                () = self.leaving.cancelled() => return,
                () = self.adopt_later(&paths) => {}
            }
            self.holds().remove(&held);
        }
    }

    /// Begins a claimed job and follows it. The lease ends with this, so that what comes after is not done as if the job went on.
    async fn begin_and_follow(&self, assignment: Assignment, paths: &Paths, following: &mut Option<Flock<fs::File>>) -> Result<(), Gone> {
        let ticket = ticket(&assignment);
        let lease = Lease::keep(self.control.clone(), ticket.clone());
        let begin = async {
            let stored = until_acknowledged(|| self.control.log_length(&ticket)).await?;
            let is_apply = assignment.phase == Phase::Apply;
            let handle = Handle { job: assignment.job.clone(), run: assignment.run.clone(), log_base: stored, is_apply };
            handle.write(&paths.spool).and_then(|()| masks::keep(&paths.spool, &assignment)).map_err(broken)?;
            *following = handle::follow(&paths.spool).await.map_err(broken)?;
            match prepare::prepare(&self.config, (&self.tools, self.plugins.as_ref()), self.control.as_ref(), &ticket, &assignment, paths)
                .await
            {
                Ok(instructions) => Ok(Some((stored, instructions))),
                Err(error) => self.refuse(&ticket, &assignment, stored, error).await.map(|()| None),
            }
        };
        let Some((stored, instructions)) = lease.hold(begin).await? else { return Ok(()) };
        // Not given up half-way: what then comes to life would be nobody's.
        self.supervise(&instructions, paths).await?;
        self.unless_leaving(lease.hold(self.finish(&ticket, &assignment, paths, stored, stored, Some(&instructions)))).await
    }

    /// Takes up a job that an earlier process was following, or that could not go on here.
    async fn adopt(&self, handle: Handle) {
        let paths = Paths::new(&self.config, &handle.job, &handle.run);
        while self.adopt_once(&handle, &paths).await == Next::TakeUp {
            tokio::time::sleep(BROKEN_PAUSE).await;
        }
    }

    async fn adopt_once(&self, handle: &Handle, paths: &Paths) -> Next {
        let held = (handle.job.clone(), TAKEN_UP);
        let _following = match handle::follow(&paths.spool).await {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                self.holds().remove(&held);
                return Next::Nothing;
            }
            Err(error) => {
                tracing::error!(job = %handle.job, %error, "a job of an earlier process cannot be followed");
                return Next::Nothing;
            }
        };
        let done = async {
            let assignment = until_acknowledged(|| self.control.adopt(&self.info, &handle.job)).await?;
            tracing::info!(job = %handle.job, run = %handle.run, "taking up a job of an earlier process");
            let ticket = ticket(&assignment);
            let lease = Lease::keep(self.control.clone(), ticket.clone());
            let finish = async {
                let stored = until_acknowledged(|| self.control.log_length(&ticket)).await?;
                self.finish(&ticket, &assignment, paths, handle.log_base, stored, None).await
            };
            lease.hold(finish).await
        };
        let done = done.await;
        self.conclude(&held, paths, done).await
    }

    async fn until_the_runner_is_back(&self) {
        while !is_locked(&self.config.spool_root.join(RUNNER_LOCK)) {
            tokio::time::sleep(RUNNER_INTERVAL).await;
        }
    }

    /// Tries again to bring home what a job left: what was in the way, such as a full disk, may pass.
    async fn adopt_later(&self, paths: &Paths) {
        while paths.spool.exists() {
            tokio::time::sleep(BROKEN_PAUSE).await;
            if let Some(handle) = Handle::read(&paths.spool) {
                return self.adopt(handle).await;
            }
        }
    }

    /// Follows a job unless this process ends, which must not wait for it.
    async fn unless_leaving(&self, following: impl Future<Output = Result<(), Gone>>) -> Result<(), Gone> {
        tokio::select! {
            () = self.leaving.cancelled() => Err(Gone::Left),
            done = following => done,
        }
    }

    /// Follows a supervised job to its end and reports it.
    async fn finish(
        &self,
        ticket: &Ticket,
        assignment: &Assignment,
        paths: &Paths,
        base: u64,
        stored: u64,
        instructions: Option<&Instructions>,
    ) -> Result<(), Gone> {
        let secrets = masks::kept(&paths.spool, assignment).unwrap_or_else(|| masks::of(assignment));
        let masker = Masker::new(&secrets);
        let log = LogTail::new(paths.log(assignment.phase), masker, base, stored);
        let key = assignment.spool_key.clone();
        let mut follower = Follower::new(self.control.clone(), ticket.clone(), paths.spool.clone(), log, key);
        let mut starts = 1;
        let outcome = loop {
            match follower.follow().await? {
                End::Done(done) => {
                    // The run's error says the same, so that a full disk does not keep it from ending.
                    if let Err(error) = report::complete_log(paths, assignment, &done) {
                        tracing::warn!(job = %ticket.job, %error, "the log of a job lacks its last words");
                    }
                    follower.finish().await?;
                    break report::outcome(&self.control, ticket, assignment, &secrets, paths, &done).await?;
                }
                End::Lost => {
                    recover::end_engines(&paths.spool).await;
                    match (assignment.phase, instructions) {
                        (Phase::Plan, Some(instructions)) if starts < MAX_PLAN_STARTS => {
                            starts += 1;
                            self.supervise(instructions, paths).await?;
                        }
                        (Phase::Plan, _) => return Err(Gone::Broken("the supervisor of a plan died".to_owned())),
                        (Phase::Apply, _) => break self.recovered(&mut follower, assignment, paths).await?,
                    }
                }
            }
        };
        let outcome = self.kept_aside(&mut follower, assignment, paths, outcome).await?;
        if matches!(outcome, Outcome::Planned { .. }) {
            fs::write(paths.planned(), []).map_err(broken)?;
        }
        self.report(ticket, outcome).await
    }

    /// Keeps the last state of an apply where an operator finds it, if it is not taken; the outcome and the log then say where.
    async fn kept_aside(&self, follower: &mut Follower, assignment: &Assignment, paths: &Paths, outcome: Outcome) -> Result<Outcome, Gone> {
        let Some(RefusedState { reason, state }) = follower.take_refused() else { return Ok(outcome) };
        let sealed = snapshot::seal(&assignment.spool_key, assignment.job.as_str(), &state).map_err(broken)?;
        let kept = self.keep(&assignment.job, &sealed).map_err(broken)?;
        tracing::error!(job = %assignment.job, run = %assignment.run, reason, kept = %kept.display(), "the last state of an apply is not taken; it is kept");
        let outcome = report::unsaved(&outcome, &reason, &self.info.name, &kept);
        if let Outcome::Failed { message, .. } = &outcome
            && let Err(error) = prepare::append(&paths.log(assignment.phase), format!("\nError: {message}\n").as_bytes())
        {
            tracing::warn!(job = %assignment.job, %error, "the log of a job does not say where its state is kept");
        }
        follower.finish().await?;
        Ok(outcome)
    }

    /// Reports an outcome. Where it is refused as it is, the run ends with the reason.
    async fn report(&self, ticket: &Ticket, outcome: Outcome) -> Result<(), Gone> {
        match until_acknowledged(|| self.control.report(ticket, outcome.clone())).await {
            Err(ControlError::Refused(reason)) => {
                let message = format!("the outcome of this run was not taken: {reason}; its log says what it has done");
                let failed = Outcome::Failed { message, summary: *outcome.summary() };
                Ok(until_acknowledged(|| self.control.report(ticket, failed.clone())).await?)
            }
            reported => Ok(reported?),
        }
    }

    /// Saves the state of an apply whose supervisor died.
    async fn recovered(&self, follower: &mut Follower, assignment: &Assignment, paths: &Paths) -> Result<Outcome, Gone> {
        let state = recover::newest_state(paths, assignment);
        // What is spooled may be older, and is then acknowledged and dropped.
        follower.finish().await?;
        if let Some(state) = state {
            follower.offer(state.into()).await?;
        }
        Ok(report::orphaned(assignment, paths))
    }

    /// Reports a job that cannot even begin, in its log too, which is all that some clients read.
    async fn refuse(&self, ticket: &Ticket, assignment: &Assignment, stored: u64, error: PrepareError) -> Result<(), Gone> {
        let message = match error {
            PrepareError::Control(error) => match error {
                ControlError::Refused(reason) => reason,
                other => return Err(other.into()),
            },
            PrepareError::Io(error) | PrepareError::Engine(ToolError::Disk(error)) => return Err(broken(error)),
            other => other.to_string(),
        };
        let engine = assignment.spec.engine.title();
        let text = format!("{engine}\non this runner\nInitializing plugins and modules...\n\nError: {message}\n");
        let text = bytes::Bytes::from(text);
        until_acknowledged(|| self.control.append_log(ticket, stored, text.clone())).await?;
        let outcome = Outcome::Failed { message, summary: tfe_core::plan::Summary::default() };
        Ok(until_acknowledged(|| self.control.report(ticket, outcome.clone())).await?)
    }

    /// Starts a supervisor and hands it its instructions over a pipe.
    async fn supervise(&self, instructions: &Instructions, paths: &Paths) -> Result<(), Gone> {
        let text = serde_json::to_vec(instructions).map_err(|error| Gone::Broken(error.to_string()))?;
        let (program, arguments) = self.config.supervisor.split_first().ok_or_else(|| Gone::Broken("no supervisor command".to_owned()))?;
        let errors = fs::File::create(paths.spool.join("supervisor.log")).map_err(broken)?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir("/").env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors);
        let mut child = tokio::process::Command::from(command).spawn().map_err(broken)?;
        let mut input = child.stdin.take().ok_or_else(|| Gone::Broken("the supervisor has no input".to_owned()))?;
        input.write_all(&text).await.map_err(broken)?;
        drop(input);
        // Followed only once it holds its lock, so that "no lock" means "no supervisor".
        let deadline = Instant::now() + START_PATIENCE;
        while !handle::is_supervised(&paths.spool) && handle::done(&paths.spool).is_none() {
            if child.try_wait().map_err(broken)?.is_some() {
                break;
            }
            if Instant::now() >= deadline {
                child.kill().await.map_err(broken)?;
                return Err(Gone::Broken("the supervisor does not begin".to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Nothing but its exit is awaited, so that no zombie stays.
        tokio::spawn(async move { child.wait().await });
        Ok(())
    }
}

/// Waits for all of them.
async fn all(jobs: &mut JoinSet<()>) {
    while jobs.join_next().await.is_some() {}
}

fn ticket(assignment: &Assignment) -> Ticket {
    Ticket { job: assignment.job.clone(), fencing_token: assignment.fencing_token, run_token: assignment.run_token.clone() }
}

fn broken(error: io::Error) -> Gone {
    Gone::Broken(error.to_string())
}

impl From<Lost> for Gone {
    fn from(_: Lost) -> Self {
        Self::Fenced
    }
}

impl From<ControlError> for Gone {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Fenced => Self::Fenced,
            other => Self::Broken(other.to_string()),
        }
    }
}
