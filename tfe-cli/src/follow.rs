//! Seeing a run through: its logs as they grow, until it is over or needs a decision.
//!
//! The run says where things stand and the logs say what happens; neither is trusted to be complete. A run may fail
//! before it has a log, a log may never get its end because its machine died. So the run decides when to stop, and a
//! log is read while its phase can still add to it.

use std::time::Duration;

use crate::{
    client::Client,
    error::ClientError,
    log::LogReader,
    model::{Phase, Run},
};

/// How long to wait between two looks at a run that does not move, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often in a row a log may give nothing although its phase is over, or fail, before it is given up. A log's last
/// piece may come a moment after its phase ends.
const MAX_FRUITLESS_READS: u32 = 5;

/// How far to follow a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until it is over or waits for somebody to confirm it.
    NeedsDecision,
    /// Until it is over.
    End,
}

/// Follows a run, handing on the text of its logs, and gives the run as it was left.
///
/// Waits as long as the run takes; drop the future to stop.
pub async fn follow(client: &Client, id: &str, until: Until, sink: &mut (dyn FnMut(&str) + Send)) -> Result<Run, ClientError> {
    follow_with(client, id, until, Start::Plan, &mut LogOnly(sink)).await
}

/// What wants to know more than the log.
pub(crate) trait Observer: Send {
    /// More text of the log.
    fn log(&mut self, text: &str);
    /// Where the run stands now; called at each look, also when nothing changed.
    fn status(&mut self, _run: &Run) {}
}

/// Which log to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The plan's.
    Plan,
    /// The apply's, for somebody who knows the plan.
    Apply,
}

/// [`follow`] for an observer.
pub(crate) async fn follow_with(
    client: &Client,
    id: &str,
    until: Until,
    start: Start,
    observer: &mut dyn Observer,
) -> Result<Run, ClientError> {
    let mut next = match start {
        Start::Plan => Some(Log::Plan),
        Start::Apply => Some(Log::Apply),
    };
    let mut pause = FIRST_PAUSE;
    loop {
        let run = client.run(id).await?;
        observer.status(&run);
        if let Some(log) = next
            && log.may_have_begun(&run)
            && log.read(client, &run, observer).await?
        {
            next = log.following();
            pause = FIRST_PAUSE;
            continue;
        }
        if is_over(&run) || (until == Until::NeedsDecision && needs_decision(&run)) {
            return Ok(run);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Whether the run waits for somebody to confirm it and will not go on by itself.
pub(crate) fn needs_decision(run: &Run) -> bool {
    run.actions.is_confirmable && !run.auto_apply
}

/// Whether the run will not change any more, or only when somebody asks for it.
pub(crate) fn is_over(run: &Run) -> bool {
    const OVER: &[&str] = &[
        "applied",
        "canceled",
        "discarded",
        "errored",
        "force_canceled",
        "planned_and_finished",
        "planned_and_saved",
        "policy_soft_failed",
    ];
    OVER.contains(&run.status.as_str())
}

struct LogOnly<'a>(&'a mut (dyn FnMut(&str) + Send));

impl Observer for LogOnly<'_> {
    fn log(&mut self, text: &str) {
        (self.0)(text);
    }
}

#[derive(Clone, Copy)]
enum Log {
    Plan,
    Apply,
}

impl Log {
    fn following(self) -> Option<Self> {
        match self {
            Self::Plan => Some(Self::Apply),
            Self::Apply => None,
        }
    }

    /// Saves asking for the phase while the run tells that it cannot have begun.
    fn may_have_begun(self, run: &Run) -> bool {
        match self {
            Self::Plan => !matches!(run.status.as_str(), "pending" | "plan_queued"),
            Self::Apply => matches!(run.status.as_str(), "applying" | "applied" | "errored" | "canceled" | "force_canceled"),
        }
    }

    /// Reads the log to its end; false if there is none yet but may be later.
    async fn read(self, client: &Client, run: &Run, observer: &mut dyn Observer) -> Result<bool, ClientError> {
        let Some(phase) = self.phase(client, run).await? else { return Ok(true) };
        match phase.status.as_str() {
            "unreachable" => Ok(true),
            "pending" | "queued" | "managed_queued" => Ok(is_over(run)),
            _ => self.read_pieces(client, run, phase, observer).await.map(|()| true),
        }
    }

    async fn phase(self, client: &Client, run: &Run) -> Result<Option<Phase>, ClientError> {
        match (self, &run.plan_id, &run.apply_id) {
            (Self::Plan, Some(id), _) => client.plan(id).await.map(Some),
            (Self::Apply, _, Some(id)) => client.apply_phase(id).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn read_pieces(self, client: &Client, run: &Run, mut phase: Phase, observer: &mut dyn Observer) -> Result<(), ClientError> {
        let (mut reader, mut fruitless) = (LogReader::default(), 0);
        while !reader.is_complete && fruitless < MAX_FRUITLESS_READS {
            let Some(url) = &phase.log_read_url else { return Ok(()) };
            let (piece, has_failed) = match client.log(url, reader.offset).await {
                Ok(piece) => (piece, false),
                Err(error) => (nothing_yet(error)?, true),
            };
            if piece.is_empty() {
                fruitless = if has_failed || is_phase_over(&phase) { fruitless + 1 } else { 0 };
                tokio::time::sleep(FIRST_PAUSE).await;
                // Also for a fresh address: a signed one ends after a while.
                phase = self.phase(client, run).await?.unwrap_or(phase);
                continue;
            }
            fruitless = 0;
            let text = reader.take(&piece);
            if !text.is_empty() {
                observer.log(&text);
            }
        }
        Ok(())
    }
}

/// An address that is not accepted may be too old, or its log not there yet; being cut off is a failure.
fn nothing_yet(error: ClientError) -> Result<bytes::Bytes, ClientError> {
    match error {
        ClientError::NotFound { .. } | ClientError::Unauthorized { .. } | ClientError::Refused { .. } => Ok(bytes::Bytes::new()),
        error => Err(error),
    }
}

fn is_phase_over(phase: &Phase) -> bool {
    matches!(phase.status.as_str(), "finished" | "errored" | "canceled" | "unreachable")
}
