//! Seeing a run through: its logs as they grow, until it is over or needs a decision.

use std::time::Duration;

use crate::{
    client::Client,
    error::ClientError,
    log::LogReader,
    model::{Phase, Run},
};

/// How long to wait between two looks at a run that does not move, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How much of a log is asked for at once: what servers give at most.
const LOG_BYTES: u32 = 65_536;

/// How far to follow a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until it is over or waits for somebody to confirm it.
    Decision,
    /// Until it is over.
    End,
}

/// Follows a run, handing on the text of its logs, and gives the run as it was left.
pub async fn follow(client: &Client, id: &str, until: Until, sink: &mut (dyn FnMut(&str) + Send)) -> Result<Run, ClientError> {
    let (mut plan_seen, mut apply_seen, mut pause) = (false, false, FIRST_PAUSE);
    loop {
        let run = client.run(id).await?;
        if !plan_seen && !matches!(run.status.as_str(), "pending" | "plan_queued") {
            plan_seen = true;
            if let Some(plan) = &run.plan_id {
                read_log(client, client.plan(plan).await?, sink).await?;
            }
            continue;
        }
        if !apply_seen && matches!(run.status.as_str(), "applying" | "applied" | "errored" | "canceled") {
            apply_seen = true;
            if let Some(apply) = &run.apply_id {
                read_log(client, client.apply(apply).await?, sink).await?;
            }
            continue;
        }
        if is_over(&run) || (until == Until::Decision && run.actions.is_confirmable && !run.auto_apply) {
            return Ok(run);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// Reads the log of a phase that has begun, until its end.
async fn read_log(client: &Client, phase: Phase, sink: &mut (dyn FnMut(&str) + Send)) -> Result<(), ClientError> {
    let Some(url) = phase.log_read_url else { return Ok(()) };
    // A phase that never began has no log and never will.
    if matches!(phase.status.as_str(), "pending" | "unreachable") {
        return Ok(());
    }
    let mut reader = LogReader::default();
    while !reader.is_complete {
        let piece = client.read_signed(&format!("{url}?limit={LOG_BYTES}&offset={}", reader.offset)).await?;
        if piece.is_empty() {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        let text = reader.take(&piece);
        if !text.is_empty() {
            sink(&text);
        }
    }
    Ok(())
}

/// Whether the run will not change any more, or only when somebody asks for it.
fn is_over(run: &Run) -> bool {
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
