//! Machines with a runner: the process that follows jobs, the engines that go on without it, and the disk that survives both.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use tfe_core::{
    cipher::{Key, NONCE_LENGTH, Nonce},
    id::Id,
    job::Job,
    plan::Summary,
    run::Phase,
};
use tfe_runner::job::{Assignment, Directive, Outcome};

use super::{
    gate::{Gate, Standing},
    node::Nodes,
    runner::Runner,
    state::State,
    world::{Tasks, World},
};

/// A machine.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) world: Arc<World>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) name: String,
    pub(super) queue: String,
    /// Whether no node can be reached.
    pub(super) is_cut_off: AtomicBool,
    /// Whether it is away and will come back.
    pub(super) is_expected: AtomicBool,
    disk: Mutex<BTreeMap<Id<Job>, Spool>>,
    process: Mutex<Arc<Process>>,
    engines: Tasks,
}

/// One process of the runner.
#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) gate: Gate,
    pub(super) tasks: Tasks,
    /// The jobs that it has, as it tells whenever it asks for one.
    pub(super) holds: Mutex<BTreeSet<Id<Job>>>,
}

/// One attempt at a job.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) job: Id<Job>,
    pub(super) attempt: u64,
}

/// What is on the disk about a job.
#[derive(Debug, Clone)]
pub(super) struct Spool {
    pub(super) phase: Phase,
    /// The id of the phase, by which its log goes.
    pub(super) log: String,
    /// How long the log was when this job began with it.
    pub(super) log_base: u64,
    /// The token with which the job was claimed, by which two attempts at one job are told apart.
    pub(super) attempt: u64,
    pub(super) text: Vec<u8>,
    pub(super) state: Option<State>,
    /// Whether the engine wrote the state.
    pub(super) is_changed: bool,
    /// What the control plane asked for.
    pub(super) stop: Directive,
    pub(super) is_supervised: bool,
    pub(super) done: Option<Outcome>,
    key: Key,
}

impl Spool {
    /// Of a job that was just claimed.
    pub(super) fn new(assignment: &Assignment, log: String, log_base: u64, state: Option<State>) -> Self {
        let key = STANDARD.decode(assignment.spool_key.expose()).ok().and_then(|key| Key::from_slice(&key)).expect("a key was given");
        let (text, is_changed, stop, is_supervised, done) = (Vec::new(), false, Directive::Continue, false, None);
        Self {
            phase: assignment.phase,
            log,
            log_base,
            attempt: assignment.fencing_token,
            text,
            state,
            is_changed,
            stop,
            is_supervised,
            done,
            key,
        }
    }

    /// The engine changed something, if it is one that may.
    fn change(&mut self, resource: String) {
        if let Some(state) = self.state.as_mut().filter(|_| self.phase == Phase::Apply) {
            state.add(resource);
            self.is_changed = true;
        }
    }

    /// The last state as the supervisor seals it.
    pub(super) fn sealed_state(&self, job: &Id<Job>) -> Option<Bytes> {
        let mut text = self.state.as_ref().filter(|_| self.is_changed)?.file();
        let nonce = [7; NONCE_LENGTH];
        self.key.seal(Nonce::from_random(nonce), job.as_str().as_bytes(), &mut text);
        Some([&nonce[..], &text].concat().into())
    }
}

impl Machine {
    pub(super) fn new(world: Arc<World>, nodes: Arc<Nodes>, name: String, queue: String) -> Arc<Self> {
        let machine = Self {
            world,
            nodes,
            name,
            queue,
            is_cut_off: AtomicBool::new(false),
            is_expected: AtomicBool::new(false),
            disk: Mutex::default(),
            process: Mutex::default(),
            engines: Tasks::default(),
        };
        let machine = Arc::new(machine);
        machine.start();
        machine
    }

    pub(super) fn disk(&self) -> MutexGuard<'_, BTreeMap<Id<Job>, Spool>> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn process(&self) -> Arc<Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts the runner's process.
    pub(super) fn start(self: &Arc<Self>) {
        let process = Arc::new(Process::default());
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process.clone();
        self.world.tell(|| format!("{} starts", self.name));
        let runner = Runner::new(self.clone(), process.clone());
        self.world.spawn(&process.tasks, runner.run());
    }

    /// Whether the runner's process is there.
    pub(super) fn is_alive(&self) -> bool {
        self.process().gate.standing() != Standing::Dead
    }

    /// The runner's process dies; engines go on.
    pub(super) fn crash(&self) {
        self.world.tell(|| format!("{} crashes", self.name));
        let process = self.process();
        process.gate.set(Standing::Dead);
        process.tasks.end();
    }

    /// The power fails: engines die too, and what is on the disk stays.
    pub(super) fn lose_power(&self) {
        self.crash();
        self.world.tell(|| format!("{} loses its power", self.name));
        self.engines.end();
        self.disk().values_mut().for_each(|spool| spool.is_supervised = false);
    }

    /// Whether something on its disk must still be brought home.
    pub(super) fn is_at_work(&self) -> bool {
        self.is_expected.load(Relaxed) || self.is_alive() && !self.disk().is_empty()
    }

    /// The machine can reach nodes again.
    pub(super) fn connect(&self) {
        self.is_cut_off.store(false, Relaxed);
    }

    /// Starts the engine of a job.
    pub(super) fn supervise(self: &Arc<Self>, work: &Work) {
        let is_apply = self.on_disk(work, |spool| {
            spool.is_supervised = true;
            spool.phase == Phase::Apply
        });
        if is_apply == Some(true) {
            let verdict = self.world.ledger().apply_started(&work.job);
            self.world.judge(verdict);
        }
        self.world.tell(|| format!("{} starts the engine of {work:?}", self.name));
        self.world.spawn(&self.engines, engine(self.clone(), work.clone()));
    }

    /// What is on the disk about a job, while it is there and of this attempt.
    pub(super) fn on_disk<T>(&self, work: &Work, act: impl FnOnce(&mut Spool) -> T) -> Option<T> {
        self.disk().get_mut(&work.job).filter(|spool| spool.attempt == work.attempt).map(act)
    }

    /// Removes what is on the disk about a job.
    pub(super) fn forget(&self, work: &Work) {
        if self.on_disk(work, |_| ()).is_some() {
            self.disk().remove(&work.job);
        }
    }
}

/// Works for a few steps, each with a line in the log and, in an apply, with another resource in the state.
async fn engine(machine: Arc<Machine>, work: Work) {
    let chance = &machine.world.chance;
    let (steps, is_faulty) = (chance.of(1..7), chance.happens(100));
    for step in 0..steps {
        machine.world.wait(50..900).await;
        let Some(stop) = machine.on_disk(&work, |spool| spool.stop) else { return };
        if stop != Directive::Continue {
            // One that is killed leaves what it has; one that is interrupted takes the time to say so.
            if stop == Directive::Interrupt {
                machine.world.wait(50..500).await;
                write(&machine, &work, "interrupted\n");
            }
            return end(&machine, &work, Outcome::Canceled { summary: summary(step) });
        }
        write(&machine, &work, &format!("{} does step {step} of {steps} of {}\n", machine.name, work.job));
        machine.on_disk(&work, |spool| spool.change(format!("{}-{step}", work.job)));
    }
    let phase = machine.on_disk(&work, |spool| spool.phase);
    let has_changes = !chance.happens(200);
    let outcome = match phase {
        _ if is_faulty => Outcome::Failed { message: "the engine failed".to_owned(), summary: summary(steps) },
        Some(Phase::Apply) => Outcome::Applied { summary: summary(steps) },
        _ => Outcome::Planned { summary: Summary { has_changes, ..summary(steps) } },
    };
    end(&machine, &work, outcome);
}

fn write(machine: &Machine, work: &Work, line: &str) {
    let log = machine.on_disk(work, |spool| {
        spool.text.extend_from_slice(line.as_bytes());
        spool.log.clone()
    });
    if let Some(log) = log {
        machine.world.ledger().attempt(&log, work.attempt).into_iter().for_each(|attempt| attempt.text.extend_from_slice(line.as_bytes()));
    }
}

fn end(machine: &Machine, work: &Work, outcome: Outcome) {
    machine.world.tell(|| format!("the engine of {work:?} ends: {outcome:?}"));
    machine.on_disk(work, |spool| {
        spool.done = Some(outcome);
        spool.is_supervised = false;
    });
}

fn summary(add: u64) -> Summary {
    Summary { add, ..Summary::default() }
}
