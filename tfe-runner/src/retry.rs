//! Repeating calls until the control plane acknowledges them.

use std::time::Duration;

use tfe_core::error::chain;

use crate::control::ControlError;

/// The first pause.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause: what a run waits at most once the control plane is back.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Repeats an idempotent call for as long as the control plane does not answer: what a run has done must arrive,
/// whenever that is. Other errors end it.
pub(crate) async fn until_acknowledged<T, F>(call: impl Fn() -> F) -> Result<T, ControlError>
where
    F: Future<Output = Result<T, ControlError>>,
{
    until_acknowledged_or(call, || std::future::ready(false)).await
}

/// The same, but given up when `is_enough` says so after a call that was not answered.
pub(crate) async fn until_acknowledged_or<T, F, G>(call: impl Fn() -> F, is_enough: impl Fn() -> G) -> Result<T, ControlError>
where
    F: Future<Output = Result<T, ControlError>>,
    G: Future<Output = bool>,
{
    let (mut pause, mut is_told) = (FIRST_PAUSE, false);
    loop {
        match call().await {
            Err(ControlError::Unavailable(source)) => {
                if is_enough().await {
                    return Err(ControlError::Unavailable(source));
                }
                // Once: an outage may be long, and the log's disk small.
                if !is_told {
                    tracing::warn!(error = chain(source.as_ref()), "the control plane does not answer; trying again until it does");
                }
                is_told = true;
                tokio::time::sleep(pause / 2 + jitter(pause / 2)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

fn jitter(bound: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    bound.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
