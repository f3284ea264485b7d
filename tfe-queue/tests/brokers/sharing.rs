//! Several nodes with one Redis.

use std::time::Duration;

use super::support::{HEALING, NOW, SECOND, hint, named_queue, node, redis, unique_name};

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_wakes_the_watches_of_all_nodes() {
    let Some(url) = redis() else { return };
    let prefix = unique_name();
    let (one, other) = (node(&url, &prefix).await, node(&url, &prefix).await);
    let (mut here, mut there, mut elsewhere) = (one.watch("run:a:b"), other.watch("run:a:b"), other.watch("run:b"));
    one.notify("run:a:b");
    assert!(here.changed(SECOND).await);
    assert!(there.changed(HEALING).await);
    assert!(!elsewhere.changed(SECOND).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_counts_are_shared() {
    let Some(url) = redis() else { return };
    let prefix = unique_name();
    let (one, other) = (node(&url, &prefix).await, node(&url, &prefix).await);
    one.put("key", b"value", HEALING).await.unwrap();
    assert_eq!(other.get("key").await.unwrap().as_deref(), Some(&b"value"[..]));
    other.remove("key").await.unwrap();
    assert_eq!(one.get("key").await.unwrap(), None);
    assert_eq!(one.count("key", HEALING).await.unwrap().count, 1);
    assert_eq!(other.count("key", HEALING).await.unwrap().count, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_with_different_names_are_apart() {
    let Some(url) = redis() else { return };
    let (one, other) = (node(&url, &unique_name()).await, node(&url, &unique_name()).await);
    one.put("key", b"value", HEALING).await.unwrap();
    assert_eq!(other.get("key").await.unwrap(), None);
    let mut watch = other.watch("run:a");
    one.notify("run:a");
    assert!(!watch.changed(SECOND).await);
    let (queue, other_queue) = (named_queue(&url, &unique_name()).await, named_queue(&url, &unique_name()).await);
    queue.publish(hint("a"), NOW).await.unwrap();
    assert!(other_queue.receive(1, Duration::from_millis(600)).await.unwrap().is_empty());
}
