//! What every queue and all signals must do, as one function per promise.
//!
//! [`queue_conformance!`](crate::queue_conformance) and [`signals_conformance!`](crate::signals_conformance) make a
//! test of each. They run with a paused clock, which suits backends in memory; others call the functions from
//! tests of their own and wait for real.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Delivery, Hint, Queue, Signals, VISIBILITY_TIMEOUT};

const NOW: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);

/// Makes a test of every promise of a queue. `$open` is an expression that gives an empty one.
#[macro_export]
macro_rules! queue_conformance {
    ($open:expr) => {
        $crate::queue_conformance!(@tests $open; delivers_a_hint_once, gives_at_most_what_was_asked_for, keeps_a_delayed_hint_back,
            wakes_a_waiting_receiver, returns_empty_after_the_wait, delivers_an_unacknowledged_hint_again,
            delivers_a_retried_hint_again, ignores_a_late_acknowledgement);
    };
    (@tests $open:expr; $($name:ident),*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            $crate::testing::$name(&$open).await;
        })*
    };
}

/// Makes a test of every promise of signals. `$open` is an expression that gives fresh ones.
#[macro_export]
macro_rules! signals_conformance {
    ($open:expr) => {
        $crate::signals_conformance!(@tests $open; wakes_every_watch_of_the_topic, keeps_a_notice_from_before_the_wait,
            does_not_wake_other_topics, forgets_a_notice_that_was_seen);
    };
    (@tests $open:expr; $($name:ident),*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            $crate::testing::$name(&$open).await;
        })*
    };
}

/// An acknowledged hint does not come back.
pub async fn delivers_a_hint_once(queue: &dyn Queue) {
    publish(queue, "a", NOW).await;
    let delivery = one(queue, NOW).await;
    assert_eq!(delivery.hint(), &hint("a"));
    assert_nothing(queue, NOW).await;
    delivery.ack().await.unwrap();
    assert_nothing(queue, VISIBILITY_TIMEOUT * 2).await;
}

/// `max` is a limit, and what is left comes with the next call.
pub async fn gives_at_most_what_was_asked_for(queue: &dyn Queue) {
    for id in ["a", "b", "c"] {
        publish(queue, id, NOW).await;
    }
    assert_eq!(queue.receive(0, SECOND).await.unwrap().len(), 0);
    let mut all = queue.receive(2, NOW).await.unwrap();
    assert_eq!(all.len(), 2);
    all.extend(queue.receive(2, NOW).await.unwrap());
    let mut ids: Vec<_> = all.iter().map(|delivery| format!("{:?}", delivery.hint())).collect();
    ids.sort();
    assert_eq!(ids, ["a", "b", "c"].map(|id| format!("{:?}", hint(id))));
}

/// A delay is kept, also when the receiver was there first.
pub async fn keeps_a_delayed_hint_back(queue: &dyn Queue) {
    publish(queue, "never", Duration::MAX).await;
    publish(queue, "a", SECOND * 5).await;
    assert_nothing(queue, SECOND * 4).await;
    let begin = Instant::now();
    assert_eq!(one(queue, SECOND * 10).await.hint(), &hint("a"));
    assert!(begin.elapsed() <= SECOND * 2, "the receiver wakes when the hint is due, not at its deadline");
}

/// A receiver that waits gets what is published meanwhile.
pub async fn wakes_a_waiting_receiver(queue: &dyn Queue) {
    let begin = Instant::now();
    let publish_later = async {
        tokio::time::sleep(SECOND).await;
        publish(queue, "a", NOW).await;
    };
    let (delivery, ()) = tokio::join!(one(queue, Duration::MAX), publish_later);
    assert_eq!(delivery.hint(), &hint("a"));
    assert!(begin.elapsed() < SECOND * 10);
}

/// Waiting ends.
pub async fn returns_empty_after_the_wait(queue: &dyn Queue) {
    let begin = Instant::now();
    assert_nothing(queue, SECOND * 2).await;
    assert!(begin.elapsed() >= SECOND * 2);
}

/// A receiver that dies costs the visibility timeout.
pub async fn delivers_an_unacknowledged_hint_again(queue: &dyn Queue) {
    publish(queue, "a", NOW).await;
    drop(one(queue, NOW).await);
    assert_nothing(queue, VISIBILITY_TIMEOUT.saturating_sub(SECOND)).await;
    let again = one(queue, SECOND * 2).await;
    assert_eq!(again.hint(), &hint("a"));
    again.ack().await.unwrap();
    assert_nothing(queue, VISIBILITY_TIMEOUT * 2).await;
}

/// A retried hint comes when it was asked for, and only then.
pub async fn delivers_a_retried_hint_again(queue: &dyn Queue) {
    publish(queue, "a", NOW).await;
    one(queue, NOW).await.retry(SECOND * 3).await.unwrap();
    assert_nothing(queue, SECOND * 2).await;
    one(queue, SECOND * 2).await.ack().await.unwrap();
    assert_nothing(queue, VISIBILITY_TIMEOUT * 2).await;
}

/// Who comes after the timeout cannot take the hint from its next receiver.
pub async fn ignores_a_late_acknowledgement(queue: &dyn Queue) {
    publish(queue, "a", NOW).await;
    let late = one(queue, NOW).await;
    let next = one(queue, VISIBILITY_TIMEOUT * 2).await;
    late.ack().await.unwrap();
    drop(next);
    assert_eq!(one(queue, VISIBILITY_TIMEOUT * 2).await.hint(), &hint("a"));
}

/// A notice goes to all.
pub async fn wakes_every_watch_of_the_topic(signals: &dyn Signals) {
    let (mut one, mut other) = (signals.watch("run:a"), signals.watch("run:a"));
    let notify = async {
        tokio::time::sleep(SECOND).await;
        signals.notify("run:a");
    };
    let begin = Instant::now();
    let (one, other, ()) = tokio::join!(one.changed(SECOND * 60), other.changed(SECOND * 60), notify);
    assert!(one && other);
    assert!(begin.elapsed() < SECOND * 10);
}

/// Watch, look, wait: a notice during the look is not missed.
pub async fn keeps_a_notice_from_before_the_wait(signals: &dyn Signals) {
    let mut watch = signals.watch("run:a");
    signals.notify("run:a");
    assert!(watch.changed(SECOND).await);
}

/// Topics are apart.
pub async fn does_not_wake_other_topics(signals: &dyn Signals) {
    let mut watch = signals.watch("run:a");
    signals.notify("run:b");
    assert!(!watch.changed(SECOND).await);
}

/// One notice wakes once.
pub async fn forgets_a_notice_that_was_seen(signals: &dyn Signals) {
    let mut watch = signals.watch("run:a");
    signals.notify("run:a");
    assert!(watch.changed(SECOND).await);
    assert!(!watch.changed(SECOND).await);
    signals.notify("run:a");
    assert!(watch.changed(SECOND).await);
    assert!(!signals.watch("run:a").changed(SECOND).await, "a notice is not kept for later watches");
}

fn hint(id: &str) -> Hint {
    Hint::RunChanged { run: id.to_owned() }
}

async fn publish(queue: &dyn Queue, id: &str, delay: Duration) {
    queue.publish(hint(id), delay).await.unwrap();
}

async fn one(queue: &dyn Queue, wait: Duration) -> Delivery {
    let mut deliveries = queue.receive(1, wait).await.unwrap();
    assert_eq!(deliveries.len(), 1, "a hint within {wait:?}");
    deliveries.remove(0)
}

async fn assert_nothing(queue: &dyn Queue, wait: Duration) {
    let deliveries = queue.receive(1, wait).await.unwrap();
    assert!(deliveries.is_empty(), "nothing within {wait:?}, but {deliveries:?}");
}
