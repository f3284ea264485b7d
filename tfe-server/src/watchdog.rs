//! Ends a process whose event loop hangs, or one of whose background loops broke, so that whoever supervises it starts it again.
//!
//! A thread of its own looks, since nothing on the event loop can. A database that is away is no reason: a restart would not
//! bring it back, and what can be answered without it is.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::health::Health;

/// How often the event loop shows that it turns.
const TURN: Duration = Duration::from_millis(200);
/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many looks in a row may find nothing new, or a broken loop, before the process is ended: ten seconds of its own time. Looks are
/// counted and not the clock, so that a process that was stopped and goes on, or a machine that slept, is given its time again.
const MAX_STUCK: u32 = 10;

/// What a look tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// It turned since the last look.
    Turning,
    /// It did not, but may yet.
    Stuck,
    /// It has not for too long.
    Hung,
}

/// What earlier looks saw.
#[derive(Debug, Default)]
struct Looks {
    turns: u64,
    stuck: u32,
}

/// Watches the event loop that this is called on for as long as it lives. `beat` is called every second in which it turned and the
/// parts were [asked](Health::is_fresh) lately, whatever they answered. When the loop hangs, or a loop of the background
/// [broke](Health::broken_loop), the process is aborted.
pub fn watch(health: Health, beat: impl Fn() + Send + 'static) {
    let seen = health.clone();
    watch_with(INTERVAL, move || health.is_fresh(), move || seen.broken_loop(), beat, abort);
}

fn watch_with(
    interval: Duration,
    is_fresh: impl Fn() -> bool + Send + 'static,
    broken: impl Fn() -> Option<String> + Send + 'static,
    beat: impl Fn() + Send + 'static,
    end: impl FnOnce(&str) + Send + 'static,
) {
    let turns = Arc::new(AtomicU64::new(0));
    let seen = Arc::downgrade(&turns);
    tokio::spawn(async move {
        loop {
            turns.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(TURN.min(interval / 4)).await;
        }
    });
    thread::spawn(move || {
        let (mut looks, mut broken_looks) = (Looks::default(), 0);
        loop {
            thread::sleep(interval);
            // The loop has ended in order, and its tasks with it.
            let Some(turns) = seen.upgrade().map(|turns| turns.load(Ordering::Relaxed)) else { return };
            match broken() {
                Some(reason) if broken_looks == MAX_STUCK => return end(&reason),
                Some(_) => broken_looks += 1,
                None => broken_looks = 0,
            }
            match looks.look(turns) {
                Sight::Turning if is_fresh() => beat(),
                Sight::Turning | Sight::Stuck => {}
                Sight::Hung => return end("the event loop hangs"),
            }
        }
    });
}

impl Looks {
    fn look(&mut self, turns: u64) -> Sight {
        self.stuck = if turns == self.turns { self.stuck + 1 } else { 0 };
        self.turns = turns;
        match self.stuck {
            0 => Sight::Turning,
            MAX_STUCK.. => Sight::Hung,
            _ => Sight::Stuck,
        }
    }
}

fn abort(reason: &str) {
    tracing::error!(reason, "the process is ended so that it is started again");
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    #[test]
    fn only_an_unbroken_silence_is_a_hang() {
        let mut looks = Looks::default();
        assert_eq!(looks.look(1), Sight::Turning);
        for _ in 1..MAX_STUCK {
            assert_eq!(looks.look(1), Sight::Stuck);
        }
        assert_eq!(looks.look(2), Sight::Turning);
        for _ in 1..MAX_STUCK {
            assert_eq!(looks.look(2), Sight::Stuck);
        }
        assert_eq!(looks.look(2), Sight::Hung);
    }

    #[tokio::test]
    async fn a_blocked_event_loop_is_seen() {
        let (sender, hung) = mpsc::channel();
        watch_with(TICK, || true, || None, || {}, move |_| sender.send(()).unwrap());
        tokio::time::sleep(TICK).await;
        // Blocks this thread, which is the whole event loop.
        hung.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    #[tokio::test]
    async fn a_broken_loop_of_the_background_ends_the_process() {
        let (sender, mut ended) = tokio::sync::mpsc::unbounded_channel();
        watch_with(TICK, || true, || Some("it broke".to_owned()), || {}, move |reason| sender.send(reason.to_owned()).unwrap());
        assert_eq!(ended.recv().await.as_deref(), Some("it broke"));
    }

    #[tokio::test]
    async fn a_loop_that_goes_on_after_a_pause_of_the_process_ends_nothing() {
        let looked = Arc::new(AtomicU64::new(0));
        let (seen, (sender, mut ended)) = (looked.clone(), tokio::sync::mpsc::unbounded_channel());
        // Each time it turns again just before the last look that bears with it.
        let broken = move || {
            let look = seen.fetch_add(1, Ordering::Relaxed);
            (!look.is_multiple_of(u64::from(MAX_STUCK))).then(|| "it stands still".to_owned())
        };
        watch_with(TICK, || true, broken, || {}, move |reason| sender.send(reason.to_owned()).unwrap());
        while looked.load(Ordering::Relaxed) < 3 * u64::from(MAX_STUCK) {
            assert!(ended.try_recv().is_err());
            tokio::time::sleep(TICK).await;
        }
    }

    #[tokio::test]
    async fn a_loop_that_turns_beats_only_while_the_parts_are_asked() {
        let (sender, mut beats) = tokio::sync::mpsc::unbounded_channel();
        let (fresh, silent) = (sender.clone(), sender);
        watch_with(
            TICK,
            || true,
            || None,
            move || {
                let _ = fresh.send("fresh");
            },
            |_| {},
        );
        watch_with(
            TICK,
            || false,
            || None,
            move || {
                let _ = silent.send("silent");
            },
            |_| {},
        );
        for _ in 0..5 {
            assert_eq!(beats.recv().await, Some("fresh"));
        }
    }
}
