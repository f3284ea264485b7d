//! A worker that speaks the real protocol and runs nothing: each plan finds that nothing is to be done.

use std::time::{Duration, Instant};

use tfe_core::{job::Question, plan::Summary, secret::Secret};
use tfe_runner::{
    control::{Control, ControlError, HttpControl, Ticket},
    job::{Assignment, Outcome, RunnerInfo},
};

use crate::harness::PATIENCE;

/// How long a question for work may wait at the server.
const WAIT: Duration = Duration::from_secs(5);
/// The pause before a server that is away is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes one job at a time.
#[derive(Debug)]
pub(super) struct Planner {
    control: HttpControl,
    runner: RunnerInfo,
    questions: u64,
    received: Vec<String>,
    unanswered: usize,
}

impl Planner {
    pub(super) fn new(url: &str, token: &str) -> Self {
        let control = HttpControl::new(&[url.to_owned()], Secret::from(token.to_owned()), &[]).unwrap();
        let runner = RunnerInfo { name: "planner".to_owned(), concurrency: 1, holds: Some(Vec::new()), ..RunnerInfo::default() };
        Self { control, runner, questions: 0, received: Vec::new(), unanswered: 0 }
    }

    /// The runs whose jobs have reached this worker, in that order.
    pub(super) fn received(&self) -> &[String] {
        &self.received
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Takes a job and ends it. The result says the how many-th it was that this worker took, so that a second one would be seen.
    pub(super) async fn plan_next(&mut self) {
        let assignment = self.receive().await;
        let Assignment { job, fencing_token, run_token, run, .. } = assignment;
        let add = self.received.len() as u64;
        self.received.push(run.to_string());
        let outcome = Outcome::Planned { summary: Summary { add, ..Summary::default() } };
        self.report(&Ticket { job, fencing_token, run_token }, &outcome).await;
    }

    /// Asks until there is something. An answer that got lost is no job: the next question says that there is none here.
    async fn receive(&mut self) -> Assignment {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            self.questions += 1;
            self.runner.question = Some(Question { process: "planner".to_owned(), number: self.questions });
            match self.control.claim(&self.runner, WAIT).await {
                Ok(Some(assignment)) => return assignment,
                Ok(None) => {}
                Err(_) => self.pause().await,
            }
        }
        panic!("there was nothing to do after {} runs", self.received.len());
    }

    async fn report(&mut self, ticket: &Ticket, outcome: &Outcome) {
        let begun = Instant::now();
        let mut is_again = false;
        while begun.elapsed() < PATIENCE {
            match self.control.report(ticket, outcome.clone()).await {
                // The job is over: an earlier report of it has arrived, and the answer got lost.
                Err(ControlError::Fenced) if is_again => return,
                Err(ControlError::Unavailable(_)) => self.pause().await,
                done => return done.unwrap(),
            }
            is_again = true;
        }
        panic!("no server took the report of run {}", self.received.len());
    }

    async fn pause(&mut self) {
        self.unanswered += 1;
        tokio::time::sleep(PAUSE).await;
    }
}
