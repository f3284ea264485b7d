//! Each step by itself: a launcher that becomes the engine. For those who have no sandbox, or one without namespaces.

use std::{
    ffi::OsString,
    fs::File,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::{Execution, Isolation, Launch, OnEnd, launcher};

/// The steps of a job, each in a process group of its own.
#[derive(Debug)]
pub(super) struct SeparateSteps {
    isolation: Isolation,
    supervisor: Vec<OsString>,
    running: Arc<Mutex<Vec<Pid>>>,
    is_interrupted: bool,
}

impl SeparateSteps {
    pub(super) fn new(isolation: Isolation, supervisor: &[OsString]) -> Self {
        Self { isolation, supervisor: supervisor.to_vec(), running: Arc::default(), is_interrupted: false }
    }

    fn running(&self) -> MutexGuard<'_, Vec<Pid>> {
        lock(&self.running)
    }
}

impl Execution for SeparateSteps {
    /// When the thread that calls this ends, the kernel interrupts the engine.
    fn start(&mut self, launch: &Launch, output: File, errors: File, on_end: OnEnd) -> io::Result<()> {
        let mut child = launcher::start(&self.supervisor, &self.isolation, launch, output, errors)?;
        let pid = launcher::pid(&child)?;
        self.running().push(pid);
        let running = self.running.clone();
        thread::spawn(move || {
            let ended = launcher::await_end(pid);
            // Providers and provisioners that the engine left behind, as long as its number is surely its own.
            let _ = killpg(pid, Signal::SIGKILL);
            lock(&running).retain(|other| *other != pid);
            let _ = child.wait();
            on_end(ended);
        });
        Ok(())
    }

    fn interrupt(&mut self) {
        self.is_interrupted = true;
        // The engine alone, which then stops its own children. One that has just ended is not there any more.
        for pid in self.running().iter() {
            let _ = kill(*pid, Signal::SIGINT);
        }
    }

    fn kill(&mut self) {
        for pid in self.running().iter() {
            let _ = killpg(*pid, Signal::SIGKILL);
        }
    }

    fn clean(&mut self) -> io::Result<()> {
        match &self.isolation {
            Isolation::None => Ok(()),
            Isolation::Sandbox(sandbox) => launcher::end_user(&self.supervisor, sandbox),
        }
    }

    fn processes(&self) -> Vec<Pid> {
        self.running().clone()
    }

    fn close(self: Box<Self>) {}
}

impl Drop for SeparateSteps {
    fn drop(&mut self) {
        if !self.is_interrupted {
            self.interrupt();
        }
    }
}

fn lock(running: &Mutex<Vec<Pid>>) -> MutexGuard<'_, Vec<Pid>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
