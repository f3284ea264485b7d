//! RabbitMQ: the promises, and what happens to it.

use std::{sync::Arc, time::Duration};

use tfe_queue::{Queue, open_queue};
use tokio::time::Instant;

use super::{
    proxy::{Network, Proxy},
    support::{
        HEALING, NOW, SECOND, VISIBILITY_TIMEOUT, assert_heals, bounded, eventually, hint, named_queue, queue, queue_options, rabbitmq,
        unique_name,
    },
};

mod promises {
    use super::{queue, rabbitmq};

    tfe_queue::queue_conformance!(real_time: queue(rabbitmq()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_heals_after_it_was_deleted_or_purged_under_load() {
    let Some(url) = rabbitmq() else { return };
    let name = unique_name();
    let queue = named_queue(&url, &name).await;
    let operator = Operator::new(&url).await;
    let load = tokio::spawn(load(Arc::clone(&queue)));
    for _ in 0..3 {
        assert_heals(&*queue).await;
        operator.delete(&name).await;
        assert_heals(&*queue).await;
        operator.purge(&name).await;
    }
    load.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_waits_while_its_queue_is_deleted_gets_what_comes_after() {
    let Some(url) = rabbitmq() else { return };
    let name = unique_name();
    let queue = named_queue(&url, &name).await;
    let waiting = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move { queue.receive(10, HEALING).await }
    });
    let operator = Operator::new(&url).await;
    eventually("the receiver waits", || operator.is_consumed(&name)).await;
    operator.delete(&name).await;
    eventually("publishing works", || async { queue.publish(hint("after"), NOW).await.is_ok() }).await;
    assert_eq!(waiting.await.unwrap().unwrap()[0].hint(), &hint("after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_delay_is_made_again() {
    let Some(url) = rabbitmq() else { return };
    let name = unique_name();
    let queue = named_queue(&url, &name).await;
    queue.publish(hint("lost"), SECOND).await.unwrap();
    Operator::new(&url).await.delete(&format!("{name}-delay-1000ms")).await;
    queue.publish(hint("a"), SECOND).await.unwrap();
    let deliveries = queue.receive(10, SECOND * 10).await.unwrap();
    assert_eq!(deliveries.iter().map(tfe_queue::Delivery::hint).collect::<Vec<_>>(), [&hint("a")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_heals_after_connections_were_cut() {
    let Some(url) = rabbitmq() else { return };
    let proxy = Proxy::before(&url, Network::Works).await;
    let queue = named_queue(&proxy.url(&url), &unique_name()).await;
    let load = tokio::spawn(load(Arc::clone(&queue)));
    for _ in 0..3 {
        proxy.cut();
        assert_heals(&*queue).await;
    }
    load.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_long_while_the_broker_is_frozen() {
    let Some(url) = rabbitmq() else { return };
    let proxy = Proxy::before(&url, Network::Works).await;
    let queue = named_queue(&proxy.url(&url), &unique_name()).await;
    queue.publish(hint("a"), NOW).await.unwrap();
    let held = queue.receive(1, SECOND * 5).await.unwrap().remove(0);
    proxy.set(Network::Frozen);

    // The answer to an acknowledgement is not waited for, so either outcome is right.
    let _ = bounded(held.ack()).await;
    assert!(bounded(queue.publish(hint("b"), NOW)).await.is_err());
    assert!(bounded(queue.receive(1, NOW)).await.is_err());
    assert!(bounded(queue.receive(1, Duration::MAX)).await.is_err());
    assert!(bounded(queue.check()).await.is_err());
    let begin = Instant::now();
    for _ in 0..100 {
        assert!(queue.publish(hint("c"), NOW).await.is_err());
    }
    assert!(begin.elapsed() < SECOND, "what is known to be away costs nothing: {:?}", begin.elapsed());

    proxy.set(Network::Works);
    assert_heals(&*queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_does_not_need_the_broker() {
    let Some(url) = rabbitmq() else { return };
    let proxy = Proxy::before(&url, Network::Broken).await;
    let queue = open_queue(&proxy.url(&url), queue_options(&unique_name())).unwrap();
    assert!(bounded(queue.check()).await.is_err());
    assert!(bounded(queue.publish(hint("a"), NOW)).await.is_err());
    proxy.set(Network::Works);
    assert_heals(&*queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_of_a_process_that_is_cut_off_goes_to_another_at_once() {
    let Some(url) = rabbitmq() else { return };
    let (proxy, name) = (Proxy::before(&url, Network::Works).await, unique_name());
    let mut options = queue_options(&name);
    options.visibility_timeout = HEALING * 2;
    let dying = open_queue(&proxy.url(&url), options).unwrap();
    dying.check().await.unwrap();
    dying.publish(hint("a"), NOW).await.unwrap();
    let held = dying.receive(1, SECOND * 5).await.unwrap().remove(0);
    proxy.set(Network::Broken);
    let other = named_queue(&url, &name).await;
    let again = other.receive(1, HEALING).await.unwrap();
    assert_eq!(again[0].hint(), &hint("a"));
    // Its acknowledgement comes too late and takes nothing away.
    let _ = bounded(held.ack()).await;
    drop(again);
    assert_eq!(other.receive(1, VISIBILITY_TIMEOUT * 2).await.unwrap()[0].hint(), &hint("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_stays() {
    let Some(url) = rabbitmq() else { return };
    let name = unique_name();
    let mut options = queue_options(&name);
    options.visibility_timeout = HEALING;
    // A heartbeat that would be longer than the silence which is taken for a dead broker.
    let idle = open_queue(&format!("{url}?heartbeat=60"), options).unwrap();
    idle.check().await.unwrap();
    idle.publish(hint("a"), NOW).await.unwrap();
    let held = idle.receive(1, SECOND * 5).await.unwrap();
    assert_eq!(held.len(), 1);
    // With the connection the hint would come here.
    let other = named_queue(&url, &name).await;
    assert!(other.receive(1, SECOND * 15).await.unwrap().is_empty());
    idle.publish(hint("b"), NOW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_receive_holds_nothing() {
    let Some(url) = rabbitmq() else { return };
    let name = unique_name();
    let queue = named_queue(&url, &name).await;
    let operator = Operator::new(&url).await;
    for _ in 0..5 {
        let abandoned = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { drop(queue.receive(10, HEALING).await) }
        });
        eventually("the receiver waits", || operator.is_consumed(&name)).await;
        abandoned.abort();
        eventually("the broker forgets it", || async { !operator.is_consumed(&name).await }).await;
    }
    queue.publish(hint("a"), NOW).await.unwrap();
    assert_eq!(queue.receive(1, SECOND * 5).await.unwrap()[0].hint(), &hint("a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_hint_is_dropped() {
    let Some(url) = rabbitmq() else { return };
    let name = unique_name();
    let queue = named_queue(&url, &name).await;
    let operator = Operator::new(&url).await;
    for body in [&b"{\"something_newer\":{\"id\":\"a\"}}"[..], b"\xff"] {
        operator.publish(&name, body).await;
    }
    queue.publish(hint("a"), NOW).await.unwrap();
    let deliveries = queue.receive(10, SECOND * 5).await.unwrap();
    assert_eq!(deliveries.iter().map(tfe_queue::Delivery::hint).collect::<Vec<_>>(), [&hint("a")]);
    deliveries.into_iter().next().unwrap().ack().await.unwrap();
    assert!(queue.receive(10, VISIBILITY_TIMEOUT * 2).await.unwrap().is_empty());
}

/// Publishes until it is ended; failures are part of it.
async fn load(queue: Arc<dyn Queue>) {
    for number in 0_u64.. {
        let delay = if number % 3 == 0 { SECOND } else { NOW };
        let _ = queue.publish(hint(&format!("load-{number}")), delay).await;
        tokio::time::sleep(SECOND / 50).await;
    }
}

/// Somebody else with a connection to the broker.
struct Operator(lapin::Connection);

impl Operator {
    async fn new(url: &str) -> Self {
        Self(lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.unwrap())
    }

    async fn delete(&self, queue: &str) {
        let channel = self.0.create_channel().await.unwrap();
        channel.queue_delete(queue.into(), lapin::options::QueueDeleteOptions::default()).await.unwrap();
    }

    async fn purge(&self, queue: &str) {
        let channel = self.0.create_channel().await.unwrap();
        channel.queue_purge(queue.into(), lapin::options::QueuePurgeOptions::default()).await.unwrap();
    }

    async fn publish(&self, queue: &str, body: &[u8]) {
        let channel = self.0.create_channel().await.unwrap();
        channel.confirm_select(lapin::options::ConfirmSelectOptions::default()).await.unwrap();
        let (options, properties) = (lapin::options::BasicPublishOptions::default(), lapin::BasicProperties::default());
        channel.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap().await.unwrap();
    }

    async fn is_consumed(&self, queue: &str) -> bool {
        let channel = self.0.create_channel().await.unwrap();
        let options = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
        channel.queue_declare(queue.into(), options, lapin::types::FieldTable::default()).await.unwrap().consumer_count() > 0
    }
}
