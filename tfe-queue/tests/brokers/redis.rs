//! Redis: the promises, and what happens to it.

use std::{sync::Arc, time::Duration};

use tfe_queue::{Coordination, Queue, QueueError, open_queue};
use tokio::time::{Instant, timeout};

use super::{
    proxy::{Network, Proxy},
    redis_server::RedisServer,
    support::{
        HEALING, NOW, SECOND, VISIBILITY_TIMEOUT, assert_heals, bounded, coordination, eventually, hint, named_queue, node, open_node,
        queue, queue_options, redis, unique_name,
    },
};

mod promises {
    use super::{coordination, queue, redis};

    tfe_queue::queue_conformance!(real_time: queue(redis()).await);
    tfe_queue::signals_conformance!(real_time: coordination(redis()).await);
    tfe_queue::cache_conformance!(real_time: coordination(redis()).await);
    tfe_queue::counters_conformance!(real_time: coordination(redis()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_heals_after_everything_was_wiped_under_load() {
    let Some(_) = redis() else { return };
    let server = RedisServer::started().await;
    let queue = named_queue(&server.url(), "hints").await;
    let load = tokio::spawn(load(Arc::clone(&queue)));
    for _ in 0..5 {
        assert_heals(&*queue).await;
        server.wipe().await;
    }
    // A receiver that waits during the wipe gets what comes after it.
    load.abort();
    server.wipe().await;
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.receive(10, HEALING).await }
    });
    server.wipe().await;
    queue.publish(hint("after"), NOW).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap()[0].hint(), &hint("after"));
    assert_heals(&*queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_heals_after_redis_was_killed_under_load() {
    let Some(_) = redis() else { return };
    let mut server = RedisServer::started().await;
    let queue = named_queue(&server.url(), "hints").await;
    let (one, other) = (node(&server.url(), "tfe").await, node(&server.url(), "tfe").await);
    let load = tokio::spawn(load(Arc::clone(&queue)));
    for _ in 0..3 {
        server.kill();
        eventually("the outage is noticed", || async { queue.check().await.is_err() && one.check().await.is_err() }).await;
        assert!(matches!(queue.publish(hint("lost"), NOW).await, Err(QueueError::Unavailable(_))));
        let mut watch = one.watch("run:a");
        server.start().await;
        // Nobody notified: it is woken because a notice may have been lost.
        assert!(watch.changed(HEALING).await);
        assert_heals(&*queue).await;
        assert_coordinates(&*one, &*other).await;
    }
    load.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_long_while_redis_is_frozen() {
    let Some(_) = redis() else { return };
    let server = RedisServer::started().await;
    let queue = named_queue(&server.url(), "hints").await;
    let (one, other) = (node(&server.url(), "tfe").await, node(&server.url(), "tfe").await);
    queue.publish(hint("a"), NOW).await.unwrap();
    let held = queue.receive(1, SECOND).await.unwrap().remove(0);
    server.freeze();

    assert!(bounded(held.ack()).await.is_err());
    assert!(bounded(queue.publish(hint("b"), NOW)).await.is_err());
    assert!(bounded(queue.receive(1, NOW)).await.is_err());
    assert!(bounded(queue.receive(1, Duration::MAX)).await.is_err());
    assert!(bounded(queue.check()).await.is_err());
    assert!(bounded(one.get("key")).await.is_err());
    assert!(bounded(one.put("key", b"value", SECOND)).await.is_err());
    assert!(bounded(one.remove("key")).await.is_err());
    assert!(bounded(one.count("key", SECOND)).await.is_err());
    assert!(bounded(one.check()).await.is_err());
    // What is known to be away costs nothing any more.
    let begin = Instant::now();
    for _ in 0..100 {
        assert!(queue.publish(hint("c"), NOW).await.is_err());
    }
    assert!(begin.elapsed() < SECOND, "{:?}", begin.elapsed());
    // Those who watch here are woken at once.
    let mut watch = one.watch("run:a");
    let begin = Instant::now();
    for _ in 0..100_000 {
        one.notify("run:a");
    }
    assert!(watch.changed(SECOND).await && begin.elapsed() < SECOND);

    server.thaw();
    assert_heals(&*queue).await;
    assert_coordinates(&*one, &*other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_heals_after_connections_were_cut() {
    let Some(url) = redis() else { return };
    let proxy = Proxy::before(&url, Network::Works).await;
    let queue = named_queue(&proxy.url(&url), &unique_name()).await;
    let prefix = unique_name();
    let (one, other) = (node(&proxy.url(&url), &prefix).await, node(&url, &prefix).await);
    for _ in 0..3 {
        proxy.cut();
        assert_heals(&*queue).await;
        assert_coordinates(&*one, &*other).await;
        assert_coordinates(&*other, &*one).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_does_not_need_redis() {
    let Some(_) = redis() else { return };
    let mut server = RedisServer::planned();
    let queue = open_queue(&server.url(), queue_options("hints")).unwrap();
    let (one, other) = (open_node(&server.url(), "tfe"), open_node(&server.url(), "tfe"));
    assert!(queue.check().await.is_err());
    assert!(one.check().await.is_err());
    server.start().await;
    assert_heals(&*queue).await;
    assert_coordinates(&*one, &*other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_from_an_outage_is_told_after_it() {
    let Some(url) = redis() else { return };
    let (proxy, prefix) = (Proxy::before(&url, Network::Works).await, unique_name());
    let (cut_off, other) = (node(&proxy.url(&url), &prefix).await, node(&url, &prefix).await);
    let mut watch = other.watch("run:a");
    // A connection that has just been made wakes everybody, since notices may have been lost before it.
    while watch.changed(SECOND).await {}
    proxy.set(Network::Broken);
    cut_off.notify("run:a");
    assert!(!watch.changed(SECOND).await);
    proxy.set(Network::Works);
    assert!(watch.changed(HEALING).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_notices_from_an_outage_become_one_for_everybody() {
    let Some(url) = redis() else { return };
    let (proxy, prefix) = (Proxy::before(&url, Network::Works).await, unique_name());
    let (cut_off, other) = (node(&proxy.url(&url), &prefix).await, node(&url, &prefix).await);
    proxy.set(Network::Broken);
    for number in 0..50_000 {
        cut_off.notify(&format!("run:{number}"));
    }
    let mut watch = other.watch("run:unheard-of");
    proxy.set(Network::Works);
    assert!(watch.changed(HEALING).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_survives_the_process_that_held_it() {
    let Some(url) = redis() else { return };
    let name = unique_name();
    let (dying, other) = (named_queue(&url, &name).await, named_queue(&url, &name).await);
    dying.publish(hint("a"), NOW).await.unwrap();
    let held = dying.receive(1, SECOND).await.unwrap();
    assert_eq!(held.len(), 1);
    drop(dying);
    let again = other.receive(1, VISIBILITY_TIMEOUT * 2).await.unwrap();
    assert_eq!(again[0].hint(), &hint("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_so_until_a_hint_is_done() {
    let Some(_) = redis() else { return };
    let server = RedisServer::started().await;
    let queue = named_queue(&server.url(), "hints").await;
    let fill = |delay: Duration| {
        let queue = Arc::clone(&queue);
        async move {
            loop {
                match queue.publish(hint("a"), delay).await {
                    Ok(()) => {}
                    full => return full,
                }
            }
        }
    };
    // Delayed hints count as well.
    let fillers: Vec<_> = (0..8).map(|number| tokio::spawn(fill(SECOND * number))).collect();
    for filler in fillers {
        assert!(matches!(filler.await.unwrap(), Err(QueueError::Full)));
    }
    queue.receive(1, NOW).await.unwrap().remove(0).ack().await.unwrap();
    queue.publish(hint("b"), NOW).await.unwrap();
    assert!(matches!(queue.publish(hint("c"), NOW).await, Err(QueueError::Full)));
}

/// Publishes until it is ended; failures are part of it.
async fn load(queue: Arc<dyn Queue>) {
    for number in 0_u64.. {
        let delay = if number % 3 == 0 { SECOND / 10 } else { NOW };
        let _ = queue.publish(hint(&format!("load-{number}")), delay).await;
        tokio::time::sleep(SECOND / 200).await;
    }
}

/// A value, a count and a notice of one node reach the other.
async fn assert_coordinates(one: &dyn Coordination, other: &dyn Coordination) {
    let key = unique_name();
    eventually("values can be put", || async { one.put(&key, b"value", HEALING).await.is_ok() }).await;
    eventually("they can be got", || async { other.get(&key).await.is_ok_and(|value| value.is_some()) }).await;
    let counted = || async { (one.count(&key, HEALING).await.ok(), other.count(&key, HEALING).await.ok()) };
    eventually("counts are shared", || async { matches!(counted().await, (Some(one), Some(other)) if other.count == one.count + 1) }).await;
    eventually("checks are content", || async { one.check().await.is_ok() && other.check().await.is_ok() }).await;
    let mut watch = other.watch(&key);
    one.notify(&key);
    timeout(HEALING, watch.changed(HEALING)).await.unwrap();
}
