//! The promises of signals.

use tokio::time::Instant;

use super::SECOND;
use crate::Signals;

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
