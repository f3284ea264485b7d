//! The work: stages of steps, with an eye on the state and on requests.

use std::{
    fs,
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::{
    DONE, ENGINES, STATE,
    instructions::{Done, Engine, Engines, Instructions, Step, StepEnd, StepName},
    orphan,
    requests::{self, Stop},
    snapshot::Snapshots,
    tell,
    timeout::{Countdown, Stage},
    watch::Watch,
};
use crate::{
    artifacts,
    files::{write_durably, write_whole},
    isolation::{Ended, Execution, Launch},
};

/// How often requests are looked for: a person does not notice it, and it costs nothing.
const TICK: Duration = Duration::from_millis(25);
/// How long the last snapshot and the mark of the end are tried to be written: what fills a disk for a moment is gone by then, and
/// whoever waits for the end waits longer. After it this process ends without a mark, and the runner looks for the state itself.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);

/// Largest description of a backend: it has a few lines.
const MAX_BACKEND_BYTES: u64 = 1 << 20;

/// One supervision, from the first step to the mark of the end.
pub(crate) struct Supervision<'i> {
    instructions: &'i Instructions,
    execution: Option<Box<dyn Execution>>,
    snapshots: Option<Snapshots>,
    watch: Watch,
    countdown: Countdown,
    events: Receiver<Event>,
    sender: Sender<Event>,
    running: Vec<StepName>,
    /// Whether the processes at work are noted.
    is_recorded: bool,
    /// Whether it was told that something could not be written: once, since the disk is likely full.
    is_troubled: bool,
    stop: Option<Stop>,
    done: Done,
}

enum Event {
    Ended(StepName, Ended),
    StateChanged,
}

impl<'i> Supervision<'i> {
    pub(crate) fn new(instructions: &'i Instructions) -> io::Result<Self> {
        let (sender, events) = mpsc::channel();
        let mut snapshots = None;
        if instructions.is_apply {
            watch(&instructions.state, sender.clone())?;
            let target = instructions.spool.join(STATE);
            snapshots =
                Some(Snapshots::new(&instructions.work, &instructions.state, target, &instructions.spool_key, &instructions.context)?);
        }
        let watch = Watch::new(instructions.limits, &instructions.work);
        let countdown = Countdown::begin(instructions.timeout);
        let (running, done, is_recorded, is_troubled) = (Vec::new(), Done::default(), true, false);
        let stop = None;
        Ok(Self {
            instructions,
            execution: None,
            snapshots,
            watch,
            countdown,
            events,
            sender,
            running,
            is_recorded,
            is_troubled,
            stop,
            done,
        })
    }

    /// Does all stages, and leaves the mark of the end whatever happened.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.done.error = self.open().err().map(|error| format!("the run cannot be isolated: {error}"));
        for stage in &self.instructions.stages {
            if self.done.error.is_none()
                && let Err(error) = self.stage(stage)
            {
                self.done.error = Some(error.to_string());
            }
            if self.done.error.is_some() || self.stop.is_some() || !self.done.steps.iter().all(StepEnd::is_good) {
                break;
            }
        }
        if let Some(execution) = self.execution.take() {
            execution.close();
        }
        if let Some(snapshots) = &mut self.snapshots {
            patiently(|| snapshots.finish())?;
        }
        // What was done in the last moment is done.
        let is_whole = self.done.steps.len() == self.instructions.stages.iter().flatten().count();
        self.done.timed_out.take_if(|_| is_whole && self.done.steps.iter().all(StepEnd::is_good));
        self.done.stopped = self.stop.is_some() && self.done.timed_out.is_none();
        self.done.orphaned = orphan::is_marked(&self.instructions.spool);
        if self.done.excess.is_none() && !self.done.steps.iter().all(StepEnd::is_good) {
            self.done.excess = self.watch.disk_full();
        }
        self.done.usage = self.watch.usage();
        let done = serde_json::to_vec(&self.done)?;
        patiently(|| write_durably(&self.instructions.spool.join(DONE), &done))
    }

    /// Makes the place for all steps. Why it cannot be made stands where the first of them writes.
    fn open(&mut self) -> io::Result<()> {
        let Some(first) = self.instructions.stages.iter().flatten().next() else { return Ok(()) };
        let executor = self.instructions.isolation.executor(&self.instructions.supervisor);
        self.execution = Some(executor.open(append(&first.errors)?)?);
        Ok(())
    }

    fn stage(&mut self, stage: &[Step]) -> io::Result<()> {
        let started = stage.iter().try_for_each(|step| self.start(step));
        if started.is_err()
            && let Some(execution) = &mut self.execution
        {
            execution.interrupt();
        }
        self.follow();
        started?;
        self.execution.as_mut().map_or(Ok(()), |execution| execution.clean())?;
        if stage.iter().any(|step| step.name == StepName::Init) && self.done.steps.iter().all(StepEnd::is_good) {
            check_backend(self.instructions)?;
        }
        Ok(())
    }

    /// Stays with the steps that run until all have ended, whatever fails here: an engine that nobody awaits makes things that no
    /// state says.
    fn follow(&mut self) {
        self.is_recorded = false;
        let mut has_changed = false;
        while !self.running.is_empty() {
            let written = self.write(has_changed);
            self.heed(written);
            // This process holds a sender too, so nothing but silence is an error.
            has_changed = self.events.recv_timeout(TICK).is_ok_and(|event| self.take(event));
            self.obey();
            self.hold();
        }
    }

    /// Takes an event and those that came with it, and says whether the state has changed: a rewritten one is many changes and one look.
    fn take(&mut self, first: Event) -> bool {
        let mut has_changed = false;
        for event in std::iter::once(first).chain(self.events.try_iter().collect::<Vec<_>>()) {
            match event {
                Event::Ended(name, ended) => self.ended(name, ended),
                Event::StateChanged => has_changed = true,
            }
        }
        has_changed
    }

    /// Writes what is due. What could not be written is due again.
    fn write(&mut self, has_changed: bool) -> io::Result<()> {
        let recorded = if self.is_recorded { Ok(()) } else { self.record_engines() };
        self.is_recorded = recorded.is_ok();
        let kept = match &mut self.snapshots {
            Some(snapshots) if has_changed => snapshots.look(),
            Some(snapshots) => snapshots.write_if_due(),
            None => Ok(()),
        };
        recorded.and(kept)
    }

    fn heed(&mut self, written: io::Result<()>) {
        if let Some(error) = written.err().filter(|_| !self.is_troubled) {
            self.is_troubled = true;
            tell(&format!("nothing can be written in {} for now: {error}", self.instructions.spool.display()));
        }
    }

    /// Starts a step. The thread that does so must live as long as this process: its end interrupts an engine without a sandbox.
    fn start(&mut self, step: &Step) -> io::Result<()> {
        let launch = Launch {
            program: step.program.clone(),
            arguments: step.arguments.clone(),
            environment: self.instructions.environment.clone(),
            directory: self.instructions.directory.clone(),
        };
        let execution = self.execution.as_mut().ok_or_else(|| io::Error::other("there is no place to run"))?;
        let (sender, name) = (self.sender.clone(), step.name);
        let on_end = move |ended| {
            let _ = sender.send(Event::Ended(name, ended));
        };
        execution.start(&launch, append(&step.output)?, append(&step.errors)?, Box::new(on_end))?;
        self.running.push(name);
        Ok(())
    }

    fn ended(&mut self, name: StepName, ended: Ended) {
        self.running.retain(|running| *running != name);
        self.done.steps.push(StepEnd { name, code: ended.code(), signal: ended.signal() });
    }

    /// Passes a new request on, or that time is up: an interrupt to the engine alone, which then stops its own children; an
    /// end to all. No engine is interrupted twice, since that makes it give up its state.
    fn obey(&mut self) {
        let asked = self.countdown.obey(requests::made(&self.instructions.spool));
        let over = self.countdown.look();
        let wanted = asked.map(|(stop, _)| stop).max(over.map(|(stop, _)| stop));
        if wanted <= self.stop {
            return;
        }
        match asked {
            Some((stop, stage)) if Some(stop) == wanted => self.say(stage),
            Some(_) => {}
            None => self.done.timed_out = over.map(|(_, timed_out)| timed_out),
        }
        self.stop = wanted;
        match (&mut self.execution, wanted) {
            (Some(execution), Some(Stop::Kill)) => execution.kill(),
            (Some(execution), _) => execution.interrupt(),
            (None, _) => {}
        }
    }

    /// Tells whoever reads the run's log how far its end has come.
    fn say(&self, stage: Stage) {
        let log = self.instructions.stages.iter().flatten().next_back().map(|step| append(&step.errors));
        // The end matters more than the words for it.
        if let Some(Ok(mut log)) = log {
            let _ = write!(log, "\n{stage}\n");
        }
    }

    /// Ends what uses too much, at once: what it would still do costs what is not there.
    fn hold(&mut self) {
        if self.done.excess.is_some() {
            return;
        }
        // Looking may fail when there is much of everything; the next look is near.
        self.done.excess = self.watch.look().unwrap_or_default();
        if self.done.excess.is_some()
            && let Some(execution) = &mut self.execution
        {
            execution.kill();
        }
    }

    /// For whoever comes after this process; no process outlives the machine, so the disk need not have it.
    fn record_engines(&self) -> io::Result<()> {
        let processes =
            self.execution.iter().flat_map(|execution| execution.processes()).filter_map(|pid| Engine::of(pid.as_raw())).collect();
        write_whole(&self.instructions.spool.join(ENGINES), &serde_json::to_vec(&Engines { processes })?)
    }
}

/// Does something again until it is done, or was tried for long enough.
fn patiently(mut act: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let deadline = Instant::now() + WRITE_PATIENCE;
    loop {
        match act() {
            Err(_) if Instant::now() < deadline => thread::sleep(TICK),
            done => return done,
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

/// Reports changes in the directory of the state file; the file itself may not exist yet.
fn watch(state: &Path, sender: Sender<Event>) -> io::Result<()> {
    let directory = state.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(directory, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO)?;
    thread::spawn(move || while inotify.read_events().is_ok() && sender.send(Event::StateChanged).is_ok() {});
    Ok(())
}

/// After `init`: the engine must keep its state where it is watched, whatever the configuration says.
fn check_backend(instructions: &Instructions) -> io::Result<()> {
    let found = artifacts::read(&instructions.work, &instructions.data.join("terraform.tfstate"), MAX_BACKEND_BYTES)?.unwrap_or_default();
    let document: serde_json::Value = serde_json::from_slice(&found).unwrap_or_default();
    let path = document.pointer("/backend/config/path").and_then(serde_json::Value::as_str).map(PathBuf::from);
    if document.pointer("/backend/type") == Some(&"local".into()) && path.as_ref() == Some(&instructions.backend_path) {
        return Ok(());
    }
    Err(io::Error::other("an override file of the configuration sets a backend; remove that backend block, the state is kept here"))
}
