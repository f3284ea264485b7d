//! The way from a runner to the nodes: like calls over HTTP, which are lost, unanswered, doubled or late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use tfe_core::{id::Id, job::Job};
use tfe_runner::{
    control::{Control, ControlError, Ticket},
    job::{ArtifactKind, Assignment, Directive, Outcome, RunnerInfo},
};
use tokio::sync::oneshot;

use super::{
    machine::{Machine, Process},
    node::Node,
    oracle::{CALLER, CLAIMANT},
};
use crate::service::control::LocalControl;

/// How long a call may take besides what it waits for, as over HTTP.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// How long it takes to see that nobody is there.
const CONNECT_TIME: Duration = Duration::from_millis(300);
/// How long a runner waits whose connection breaks, in milliseconds. The node does what it was asked to, before or after that.
const IMPATIENCE: std::ops::Range<u64> = 0..800;
/// The latest that a doubled call arrives again, in milliseconds.
const MAX_DELAY: u64 = 15_000;

/// How long a call may take on purpose that does not wait.
const SHORT: Duration = Duration::ZERO;
/// From where all runners call.
const ADDRESS: &str = "10.0.0.1";

/// What a node will answer.
type Answer<T> = BoxFuture<'static, Result<T, ControlError>>;

/// One runner's way to the nodes.
#[derive(Debug)]
pub(super) struct Network {
    machine: Arc<Machine>,
    process: Arc<Process>,
    /// The place of the node that answered last.
    current: AtomicUsize,
}

impl Network {
    pub(super) fn new(machine: Arc<Machine>, process: Arc<Process>) -> Self {
        let current = AtomicUsize::new(machine.world.chance.index(machine.nodes.count()));
        Self { machine, process, current }
    }

    /// Calls a node on behalf of a job's holder, if it is about a job. `wait` is how long it may take on purpose.
    async fn call<A, T>(
        &self,
        ticket: Option<&Ticket>,
        wait: Duration,
        with: A,
        ask: fn(LocalControl, A) -> Answer<T>,
    ) -> Result<T, ControlError>
    where
        A: Clone + Send + 'static,
        T: Send + 'static,
    {
        self.process.gate.pass().await;
        let place = self.current.load(Relaxed);
        let node = self.machine.nodes.at(place);
        let control = LocalControl::of_queue(node.app.clone(), self.machine.queue.clone(), ADDRESS.to_owned());
        let asked = || on_behalf(ticket.cloned(), ask(control.clone(), with.clone()));
        let answer = self.answer(&node, wait + CALL_TIMEOUT, asked).await;
        if matches!(answer, Err(ControlError::Unavailable(_))) {
            self.current.store(place.wrapping_add(1), Relaxed);
        }
        self.process.gate.pass().await;
        answer
    }

    async fn answer<T: Send + 'static>(&self, node: &Node, limit: Duration, asked: impl Fn() -> Answer<T>) -> Result<T, ControlError> {
        let world = &self.machine.world;
        if self.machine.is_cut_off.load(Relaxed) || !node.is_alive() || world.strikes(|faults| faults.call_lost) {
            tokio::time::sleep(CONNECT_TIME).await;
            return Err(away("nobody answers"));
        }
        if world.strikes(|faults| faults.call_doubled) {
            let (again, late) = (asked(), world.chance.time(0..MAX_DELAY));
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                again.await
            });
        }
        let limit = if world.strikes(|faults| faults.call_unanswered) { world.chance.time(IMPATIENCE) } else { limit };
        let (asked, (sender, answer)) = (asked(), oneshot::channel());
        // Whoever asked may be gone when it is done.
        world.spawn(&node.tasks, asked.map(|done| drop(sender.send(done))));
        let answer = tokio::select! {
            biased;
            () = node.gate.died() => return Err(away("the node died")),
            answer = tokio::time::timeout(limit, answer) => answer,
        };
        match answer {
            Ok(Ok(answer)) if !self.machine.is_cut_off.load(Relaxed) => answer,
            _ => Err(away("no answer came in time")),
        }
    }

    pub(super) async fn claim(&self, info: &RunnerInfo, wait: Duration) -> Result<Option<Assignment>, ControlError> {
        let ask = |control: LocalControl, (info, wait): (RunnerInfo, _)| {
            CLAIMANT.scope(info.name.clone(), async move { control.claim(&info, wait).await }).boxed()
        };
        self.call(None, wait, (info.clone(), wait), ask).await
    }

    pub(super) async fn adopt(&self, info: &RunnerInfo, job: &Id<Job>) -> Result<Assignment, ControlError> {
        let with = (info.clone(), job.clone());
        self.call(None, SHORT, with, |control, (info, job)| async move { control.adopt(&info, &job).await }.boxed()).await
    }

    pub(super) async fn bring_late_state(&self, job: &Id<Job>, sealed: &Bytes) -> Result<(), ControlError> {
        let with = (job.clone(), sealed.clone());
        self.call(None, SHORT, with, |control, (job, sealed)| async move { control.bring_late_state(&job, sealed).await }.boxed()).await
    }

    pub(super) async fn heartbeat(&self, ticket: &Ticket) -> Result<Directive, ControlError> {
        self.call(Some(ticket), SHORT, ticket.clone(), |control, ticket| async move { control.heartbeat(&ticket).await }.boxed()).await
    }

    pub(super) async fn await_directive(&self, ticket: &Ticket, wait: Duration) -> Result<Directive, ControlError> {
        let with = (ticket.clone(), wait);
        self.call(Some(ticket), wait, with, |control, (ticket, wait)| async move { control.await_directive(&ticket, wait).await }.boxed())
            .await
    }

    pub(super) async fn state(&self, ticket: &Ticket) -> Result<Option<Bytes>, ControlError> {
        self.call(Some(ticket), SHORT, ticket.clone(), |control, ticket| async move { control.state(&ticket).await }.boxed()).await
    }

    /// Whether there is a plan to apply.
    pub(super) async fn has_plan(&self, ticket: &Ticket) -> Result<bool, ControlError> {
        let ask =
            |control: LocalControl, ticket| async move { Ok(control.artifact(&ticket, ArtifactKind::PlanFile).await?.is_some()) }.boxed();
        self.call(Some(ticket), SHORT, ticket.clone(), ask).await
    }

    /// Saves what an apply needs.
    pub(super) async fn save_plan(&self, ticket: &Ticket) -> Result<(), ControlError> {
        let ask = |control: LocalControl, ticket| {
            let content = stream::iter([Ok(Bytes::from_static(b"plan"))]).boxed();
            async move { control.save_artifact(&ticket, ArtifactKind::PlanFile, content).await }.boxed()
        };
        self.call(Some(ticket), SHORT, ticket.clone(), ask).await
    }

    pub(super) async fn log_length(&self, ticket: &Ticket) -> Result<u64, ControlError> {
        self.call(Some(ticket), SHORT, ticket.clone(), |control, ticket| async move { control.log_length(&ticket).await }.boxed()).await
    }

    pub(super) async fn append_log(&self, ticket: &Ticket, offset: u64, text: &Bytes) -> Result<(), ControlError> {
        let with = (ticket.clone(), offset, text.clone());
        let ask = |control: LocalControl, (ticket, offset, text)| async move { control.append_log(&ticket, offset, text).await }.boxed();
        self.call(Some(ticket), SHORT, with, ask).await
    }

    pub(super) async fn save_state(&self, ticket: &Ticket, content: &Bytes) -> Result<(), ControlError> {
        let with = (ticket.clone(), content.clone());
        self.call(Some(ticket), SHORT, with, |control, (ticket, content)| async move { control.save_state(&ticket, content).await }.boxed())
            .await
    }

    pub(super) async fn report(&self, ticket: &Ticket, outcome: &Outcome) -> Result<(), ControlError> {
        let with = (ticket.clone(), outcome.clone());
        self.call(Some(ticket), SHORT, with, |control, (ticket, outcome)| async move { control.report(&ticket, outcome).await }.boxed())
            .await
    }
}

/// Does a call on behalf of a job's holder.
fn on_behalf<T: 'static>(ticket: Option<Ticket>, call: Answer<T>) -> Answer<T> {
    match ticket {
        Some(ticket) => CALLER.scope(ticket, call).boxed(),
        None => call,
    }
}

fn away(why: &str) -> ControlError {
    ControlError::Unavailable(why.into())
}
