//! What these tests share.

use std::{
    env,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tfe_queue::{CALL_TIMEOUT, Coordination, CoordinationOptions, Hint, Queue, QueueOptions, open_coordination, open_queue};
use tokio::time::{Instant, sleep, timeout};

pub(crate) const NOW: Duration = Duration::ZERO;
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Long enough for brokers on a loaded machine, and above one second, which the suite takes off.
pub(crate) const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long healing may take: the longest pause between attempts, an attempt, and a loaded machine.
pub(crate) const HEALING: Duration = Duration::from_secs(30);
/// What a call may take when its broker is frozen: it waits for a session, and then for an answer.
pub(crate) const BOUND: Duration = CALL_TIMEOUT.saturating_mul(2).saturating_add(SECOND);

/// The value of a variable that names a service; `None` skips the test.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub(crate) fn service(variable: &str) -> Option<String> {
    let value = env::var(variable).ok();
    if value.is_none() {
        assert!(env::var_os("TFE_TEST_REQUIRE").is_none(), "{variable} must be set; scripts/test does that");
        eprintln!("skipped: {variable} is not set");
    }
    value
}

pub(crate) fn redis() -> Option<String> {
    service("TFE_TEST_REDIS")
}

pub(crate) fn rabbitmq() -> Option<String> {
    service("TFE_TEST_RABBITMQ")
}

/// A name that no other test uses, in this run or a parallel one.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("tfe-test-{}-{:x}", NEXT.fetch_add(1, Ordering::Relaxed), since.as_nanos())
}

pub(crate) fn queue_options(name: &str) -> QueueOptions {
    let mut options = QueueOptions::default();
    name.clone_into(&mut options.name);
    options.visibility_timeout = VISIBILITY_TIMEOUT;
    options
}

/// A queue of its own that is ready.
pub(crate) async fn queue(url: Option<String>) -> Option<Arc<dyn Queue>> {
    Some(named_queue(&url?, &unique_name()).await)
}

pub(crate) async fn named_queue(url: &str, name: &str) -> Arc<dyn Queue> {
    let queue = open_queue(url, queue_options(name)).unwrap();
    queue.check().await.unwrap();
    queue
}

/// Coordination of its own that is ready.
pub(crate) async fn coordination(url: Option<String>) -> Option<Arc<dyn Coordination>> {
    Some(node(&url?, &unique_name()).await)
}

/// One of several nodes with the same prefix.
pub(crate) async fn node(url: &str, prefix: &str) -> Arc<dyn Coordination> {
    let node = open_node(url, prefix);
    node.check().await.unwrap();
    node
}

pub(crate) fn open_node(url: &str, prefix: &str) -> Arc<dyn Coordination> {
    let mut options = CoordinationOptions::default();
    prefix.clone_into(&mut options.prefix);
    open_coordination(url, options).unwrap()
}

pub(crate) fn hint(id: &str) -> Hint {
    Hint::RunChanged { run: id.to_owned() }
}

/// Tries until it holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + HEALING;
    while !holds().await {
        assert!(Instant::now() < deadline, "{what} within {HEALING:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The queue carries a new hint from end to end again, with the same object as before.
pub(crate) async fn assert_heals(queue: &dyn Queue) {
    let id = unique_name();
    eventually("publishing works again", || async { queue.publish(hint(&id), NOW).await.is_ok() }).await;
    eventually("the hint arrives", || async {
        let mut arrived = false;
        for delivery in queue.receive(10, SECOND).await.unwrap_or_default() {
            arrived |= delivery.hint() == &hint(&id);
            // If this fails it comes again, which the next look sees.
            let _ = delivery.ack().await;
        }
        arrived
    })
    .await;
    eventually("the check is content", || async { queue.check().await.is_ok() }).await;
}

/// What the call gives, which it must within the bound that holds for brokers that do not answer.
pub(crate) async fn bounded<T>(call: impl Future<Output = T>) -> T {
    timeout(BOUND, call).await.expect("a call ends although the broker does not answer")
}
