//! The promises of a queue.

use std::{collections::HashSet, sync::Mutex, time::Duration};

use futures::future::join_all;
use tokio::time::Instant;

use super::{NOW, SECOND};
use crate::{Delivery, Hint, Queue};

/// An acknowledged hint does not come back.
pub async fn delivers_a_hint_once(queue: &dyn Queue) {
    publish(queue, "a", NOW).await;
    let delivery = one(queue, NOW).await;
    assert_eq!(delivery.hint(), &hint("a"));
    assert_nothing(queue, NOW).await;
    delivery.ack().await.unwrap();
    assert_nothing(queue, queue.visibility_timeout() * 2).await;
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
    assert_nothing(queue, queue.visibility_timeout().saturating_sub(SECOND)).await;
    let again = one(queue, SECOND * 2).await;
    assert_eq!(again.hint(), &hint("a"));
    again.ack().await.unwrap();
    assert_nothing(queue, queue.visibility_timeout() * 2).await;
}

/// A retried hint comes when it was asked for, and only then.
pub async fn delivers_a_retried_hint_again(queue: &dyn Queue) {
    publish(queue, "a", NOW).await;
    one(queue, NOW).await.retry(SECOND * 3).await.unwrap();
    assert_nothing(queue, SECOND * 2).await;
    one(queue, SECOND * 2).await.ack().await.unwrap();
    assert_nothing(queue, queue.visibility_timeout() * 2).await;
}

/// Who comes after the timeout cannot take the hint from its next receiver.
pub async fn ignores_a_late_acknowledgement(queue: &dyn Queue) {
    publish(queue, "a", NOW).await;
    let late = one(queue, NOW).await;
    let next = one(queue, queue.visibility_timeout() * 2).await;
    late.ack().await.unwrap();
    drop(next);
    assert_eq!(one(queue, queue.visibility_timeout() * 2).await.hint(), &hint("a"));
}

/// Several receivers, of which each now and then dies with what it was given, hands it back, or comes too late: every
/// hint is acknowledged in the end.
pub async fn forgets_no_hint(queue: &dyn Queue) {
    const HINTS: u64 = 200;
    const RECEIVERS: u64 = 4;
    let begin = Instant::now();
    let left = Mutex::new((0..HINTS).map(|number| hint(&number.to_string())).collect::<HashSet<_>>());
    let publish_all = async {
        for number in 0..HINTS {
            let delay = if number % 10 == 0 { SECOND } else { NOW };
            publish(queue, &number.to_string(), delay).await;
        }
    };
    let receive_all = join_all((0..RECEIVERS).map(|receiver| unreliable_receiver(queue, &left, receiver)));
    tokio::join!(publish_all, receive_all);
    assert!(begin.elapsed() > queue.visibility_timeout(), "some hints were dropped, so their timeout was needed");
    assert_nothing(queue, queue.visibility_timeout() * 2).await;
}

/// Receives until nothing is left. One in five deliveries is dropped, one in five handed back, and others acknowledged.
async fn unreliable_receiver(queue: &dyn Queue, left: &Mutex<HashSet<Hint>>, receiver: u64) {
    // Long enough for each hint to be dropped several times in a row, and the end of a test that would never end.
    let deadline = Instant::now() + queue.visibility_timeout() * 20 + SECOND * 60;
    let mut random = receiver;
    while !left.lock().unwrap().is_empty() {
        assert!(Instant::now() < deadline, "these were forgotten: {:?}", left.lock().unwrap());
        for delivery in queue.receive(7, SECOND).await.unwrap() {
            // The constants of Knuth's MMIX, whose upper bits are random enough.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match (random >> 33) % 5 {
                0 => drop(delivery),
                1 => delivery.retry(SECOND).await.unwrap(),
                _ => {
                    let hint = delivery.hint().clone();
                    delivery.ack().await.unwrap();
                    left.lock().unwrap().remove(&hint);
                }
            }
        }
    }
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
