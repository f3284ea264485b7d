//! The implementations in memory keep all promises, and their own limits.

use std::time::Duration;

use tfe_queue::{
    Cache, Counters, Hint, MAX_TOPICS, MAX_VALUE_BYTES, MAX_WAITING, MemoryCoordination, MemoryQueue, MemorySignals, Queue, QueueError,
    Signals,
};

mod queue {
    tfe_queue::queue_conformance!(tfe_queue::MemoryQueue::new());
}

mod signals {
    tfe_queue::signals_conformance!(tfe_queue::MemorySignals::new());
}

mod coordination {
    tfe_queue::signals_conformance!(tfe_queue::MemoryCoordination::new());
    tfe_queue::cache_conformance!(tfe_queue::MemoryCoordination::new());
    tfe_queue::counters_conformance!(tfe_queue::MemoryCoordination::new());
}

#[test]
fn a_hint_is_readable_json() {
    let hint = Hint::RunChanged { run: "run-1".to_owned() };
    let text = serde_json::to_string(&hint).unwrap();
    assert_eq!(text, r#"{"run_changed":{"run":"run-1"}}"#);
    assert_eq!(serde_json::from_str::<Hint>(&text).unwrap(), hint);
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let queue = MemoryQueue::new();
    let hint = || Hint::JobQueued { job: "job-1".to_owned() };
    for _ in 0..MAX_WAITING {
        queue.publish(hint(), Duration::ZERO).await.unwrap();
    }
    assert!(matches!(queue.publish(hint(), Duration::ZERO).await, Err(QueueError::Full)));
}

#[test]
fn a_topic_vanishes_with_its_last_watch() {
    let signals = MemorySignals::new();
    let (one, other) = (signals.watch("log:plan-1"), signals.watch("log:plan-1"));
    signals.notify("log:nobody");
    assert_eq!(signals.watched(), 1);
    drop(one);
    assert_eq!(signals.watched(), 1);
    drop(other);
    assert_eq!(signals.watched(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_beyond_the_limit_waits_for_its_timeout() {
    let signals = MemorySignals::new();
    let watches: Vec<_> = (0..MAX_TOPICS).map(|number| signals.watch(&format!("run:{number}"))).collect();
    let begin = tokio::time::Instant::now();
    assert!(!signals.watch("run:late").changed(Duration::from_secs(1)).await);
    assert!(begin.elapsed() >= Duration::from_secs(1));
    drop(watches);
    assert_eq!(signals.watched(), 0);
}

#[tokio::test]
async fn a_full_cache_loses_what_would_end_first() {
    let cache = MemoryCoordination::new();
    let value = vec![0; MAX_VALUE_BYTES];
    // Twice of what fits into its 64 MiB.
    for number in 0..2048 {
        cache.put(&number.to_string(), &value, Duration::from_secs(3600 + number)).await.unwrap();
    }
    let mut kept = Vec::new();
    for number in 0..2048 {
        kept.extend(cache.get(&number.to_string()).await.unwrap().map(|_| number));
    }
    assert!((1000..=1024).contains(&kept.len()), "{}", kept.len());
    assert_eq!(*kept.first().unwrap(), 2048 - kept.len(), "the last ones are there without a gap");
}

#[tokio::test]
async fn full_counters_forget_the_window_that_would_end_first() {
    let counters = MemoryCoordination::new();
    counters.count("short", Duration::from_mins(1)).await.unwrap();
    counters.count("long", Duration::from_hours(2)).await.unwrap();
    for number in 0..200_000 {
        counters.count(&number.to_string(), Duration::from_hours(1)).await.unwrap();
    }
    assert_eq!(counters.count("short", Duration::from_mins(1)).await.unwrap().count, 1);
    assert_eq!(counters.count("long", Duration::from_hours(2)).await.unwrap().count, 2);
}
