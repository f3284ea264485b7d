//! Whether the loops that work in the background still do.
//!
//! A loop that panicked, or that stands still while all parts answer, is a bug that only a new start helps against. It is told
//! to whoever asks for readiness, and [`watchdog`](crate::watchdog) ends the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// How long a loop may be silent while all parts answer: longer than any one call with its retries.
const MAX_SILENCE: Duration = Duration::from_mins(5);

/// The loops of a process; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loops(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// When each was heard last.
    turned_at: BTreeMap<&'static str, Instant>,
    /// The first that ended though it should not.
    ended: Option<String>,
}

impl Loops {
    /// Starts a loop that goes on until `shutdown`. That it ends earlier, by a panic most likely, is noticed.
    pub(crate) fn start(
        &self,
        name: &'static str,
        shutdown: &CancellationToken,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let (loops, shutdown, work) = (self.clone(), shutdown.clone(), tokio::spawn(work));
        tokio::spawn(async move {
            let reason = match work.await {
                Ok(()) if shutdown.is_cancelled() => None,
                Ok(()) => Some(format!("the loop \"{name}\" ended by itself")),
                Err(error) if error.is_panic() => Some(format!("the loop \"{name}\" ended: {error}")),
                // The whole process ends.
                Err(_) => None,
            };
            loops.ended(name, reason, shutdown.is_cancelled());
        })
    }

    /// Says that a loop is at work. From the first time on it is missed when it is silent.
    pub(crate) fn turned(&self, name: &'static str) {
        self.known().turned_at.insert(name, Instant::now());
    }

    /// Says that loops have a reason to be silent, which is seen elsewhere.
    pub(super) fn excuse(&self) {
        let now = Instant::now();
        self.known().turned_at.values_mut().for_each(|at| *at = now);
    }

    /// What is wrong with a loop, if anything is.
    pub(crate) fn broken(&self) -> Option<String> {
        let known = self.known();
        let is_silent = |(_, at): &(&&str, &Instant)| at.elapsed() > MAX_SILENCE;
        let silent = || known.turned_at.iter().find(is_silent).map(|(name, _)| *name);
        known.ended.clone().or_else(|| Some(format!("the loop \"{}\" stands still for {} seconds", silent()?, MAX_SILENCE.as_secs())))
    }

    /// Notes the end of a loop, and what was wrong with it unless it is one of many ends.
    fn ended(&self, name: &str, reason: Option<String>, is_shutdown: bool) {
        let mut known = self.known();
        known.turned_at.remove(name);
        if let Some(reason) = reason {
            tracing::error!(reason, "a background loop ended badly");
            known.ended = known.ended.take().or_else(|| (!is_shutdown).then_some(reason));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silence_counts_only_while_the_parts_answer() {
        let loops = Loops::default();
        let just_allowed = MAX_SILENCE.saturating_sub(Duration::from_secs(1));
        loops.turned("tested");
        tokio::time::advance(just_allowed).await;
        assert_eq!(loops.broken(), None);
        loops.excuse();
        tokio::time::advance(just_allowed).await;
        assert_eq!(loops.broken(), None);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(loops.broken().is_some_and(|reason| reason.contains("tested")));
        loops.turned("tested");
        assert_eq!(loops.broken(), None);
    }

    #[tokio::test]
    async fn a_loop_that_ends_in_order_is_missed_by_nobody_and_any_other_is() {
        let (loops, shutdown) = (Loops::default(), CancellationToken::new());
        let until = |shutdown: CancellationToken| async move { shutdown.cancelled().await };
        let orderly = loops.start("orderly", &shutdown, until(shutdown.clone()));
        loops.turned("orderly");
        shutdown.cancel();
        orderly.await.unwrap();
        assert_eq!(loops.broken(), None);
        assert!(loops.known().turned_at.is_empty(), "nobody waits for it");
        let shutdown = CancellationToken::new();
        loops.start("hasty", &shutdown, async {}).await.unwrap();
        assert!(loops.broken().is_some_and(|reason| reason.contains("hasty")));
        let loops = Loops::default();
        loops.start("unlucky", &shutdown, async { panic!("out of luck") }).await.unwrap();
        assert!(loops.broken().is_some_and(|reason| reason.contains("unlucky")));
    }
}
