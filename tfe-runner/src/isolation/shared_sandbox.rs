//! One sandbox for all steps of a job, seen from the supervisor. Making a sandbox costs as much as a small step.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::{
    Ended, Execution, Launch, OnEnd, Sandbox,
    enter::Enclosure,
    init::{Order, Report},
    launcher::{ENCLOSE, await_end, await_group, pid, unless_gone},
    line::Line,
};

/// The supervisor's end of a sandbox.
#[derive(Debug)]
pub(super) struct SharedSandbox {
    line: Line,
    launcher: Pid,
    count: u64,
    awaited: Awaited,
    listener: Option<JoinHandle<()>>,
}

/// Who waits for which end.
#[derive(Clone)]
struct Awaited(Arc<Mutex<Ends>>);

enum Ends {
    /// To come.
    Ahead(BTreeMap<u64, OnEnd>),
    /// None will come: the sandbox has ended, in this way.
    Over(Ended),
}

impl SharedSandbox {
    /// Makes a sandbox. Why one cannot be made is in the errors, and every step fails.
    pub(super) fn open(supervisor: &[OsString], sandbox: &Sandbox, errors: File) -> io::Result<Self> {
        let (program, words) = supervisor.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (line, inner) = Line::open()?;
        let mut command = Command::new(program);
        command.args(words).arg(ENCLOSE).current_dir("/").env_clear().stdin(inner).stdout(Stdio::null()).stderr(errors).process_group(0);
        let launcher = command.spawn()?;
        // The command keeps a copy of the other end, which would hide that the sandbox is gone.
        drop(command);
        let enclosure = Enclosure { words: words.to_vec(), sandbox: sandbox.clone() };
        // The launcher reads it, and then the first process of the sandbox.
        for _ in 0..2 {
            unless_gone(line.send(&enclosure))?;
        }
        let awaited = Awaited(Arc::new(Mutex::new(Ends::Ahead(BTreeMap::new()))));
        let (pid, heard, told) = (pid(&launcher)?, line.again()?, awaited.clone());
        let listener = thread::spawn(move || listen(&heard, pid, launcher, &told));
        Ok(Self { line, launcher: pid, count: 0, awaited, listener: Some(listener) })
    }
}

impl Execution for SharedSandbox {
    fn start(&mut self, launch: &Launch, output: File, errors: File, on_end: OnEnd) -> io::Result<()> {
        self.count += 1;
        self.awaited.add(self.count, on_end);
        let order = Order::Start { number: self.count, launch: launch.clone() };
        unless_gone(self.line.send_with(&order, &[output.as_fd(), errors.as_fd()]))
    }

    fn interrupt(&mut self) {
        // If it is gone there is nothing to interrupt.
        let _ = self.line.send(&Order::Interrupt);
    }

    fn kill(&mut self) {
        self.awaited.if_any(|| {
            let _ = killpg(self.launcher, Signal::SIGKILL);
        });
    }

    fn clean(&mut self) -> io::Result<()> {
        // The first process of the sandbox does so by itself.
        Ok(())
    }

    fn processes(&self) -> Vec<Pid> {
        vec![self.launcher]
    }

    fn close(mut self: Box<Self>) {
        self.line.finish();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Drop for SharedSandbox {
    fn drop(&mut self) {
        // What runs is interrupted, as it is when the supervisor ends.
        self.line.finish();
    }
}

/// Hears of ends until the sandbox has ended itself, which ends what still ran.
fn listen(line: &Line, pid: Pid, mut launcher: Child, awaited: &Awaited) {
    while let Ok(Some(Report { number, ended })) = line.receive() {
        awaited.ended(number, ended);
    }
    let ended = match await_end(pid) {
        // What did not tell how it ended was not done, however well the sandbox did.
        Ended::Code(0) => Ended::Code(1),
        ended => ended,
    };
    // Its number is free when it is collected, so nobody may use it from here on.
    let ends = awaited.over(ended);
    let _ = launcher.wait();
    // One that was killed has left the first process of the sandbox to this one, and that ends after everything in there.
    await_group(pid);
    for on_end in ends.into_values() {
        on_end(ended);
    }
}

impl Awaited {
    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something while an end is to come, and no longer than that.
    fn if_any(&self, act: impl FnOnce()) {
        if let Ends::Ahead(ends) = &*self.lock()
            && !ends.is_empty()
        {
            act();
        }
    }

    fn add(&self, number: u64, on_end: OnEnd) {
        let over = match &mut *self.lock() {
            Ends::Ahead(ends) => return drop(ends.insert(number, on_end)),
            Ends::Over(ended) => *ended,
        };
        on_end(over);
    }

    fn ended(&self, number: u64, ended: Ended) {
        let on_end = match &mut *self.lock() {
            Ends::Ahead(ends) => ends.remove(&number),
            Ends::Over(_) => None,
        };
        if let Some(on_end) = on_end {
            on_end(ended);
        }
    }

    /// No more will come. Those who still wait for one.
    fn over(&self, ended: Ended) -> BTreeMap<u64, OnEnd> {
        match std::mem::replace(&mut *self.lock(), Ends::Over(ended)) {
            Ends::Ahead(ends) => ends,
            Ends::Over(_) => BTreeMap::new(),
        }
    }
}

impl std::fmt::Debug for Awaited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awaited").finish_non_exhaustive()
    }
}
