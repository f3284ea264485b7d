//! The promises of a cache and of counters.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::sleep;

use super::SECOND;
use crate::{Cache, CoordinationError, Count, Counters, MAX_VALUE_BYTES};

/// A value stays until its time has passed, and any bytes are a value.
pub async fn keeps_a_value_for_its_time(cache: &dyn Cache) {
    assert_eq!(cache.get("a").await.unwrap(), None);
    let value: Vec<u8> = (0..=u8::MAX).collect();
    cache.put("a", &value, SECOND * 2).await.unwrap();
    cache.put("empty", b"", Duration::MAX).await.unwrap();
    assert_eq!(cache.get("a").await.unwrap(), Some(value));
    sleep(SECOND * 3).await;
    assert_eq!(cache.get("a").await.unwrap(), None);
    assert_eq!(cache.get("empty").await.unwrap(), Some(Vec::new()));
}

/// The last value of a key counts, and so does its time.
pub async fn replaces_a_value(cache: &dyn Cache) {
    cache.put("a", b"first", SECOND).await.unwrap();
    cache.put("a", b"second", SECOND * 60).await.unwrap();
    sleep(SECOND * 2).await;
    assert_eq!(cache.get("a").await.unwrap().as_deref(), Some(&b"second"[..]));
}

/// What was removed is gone, and only that.
pub async fn removes_a_value(cache: &dyn Cache) {
    cache.put("a", b"1", SECOND * 60).await.unwrap();
    cache.put("b", b"2", SECOND * 60).await.unwrap();
    cache.remove("a").await.unwrap();
    cache.remove("never").await.unwrap();
    assert_eq!(cache.get("a").await.unwrap(), None);
    assert_eq!(cache.get("b").await.unwrap().as_deref(), Some(&b"2"[..]));
}

/// The largest value fits, and a larger one is refused without touching the former.
pub async fn refuses_a_value_that_is_too_large(cache: &dyn Cache) {
    let largest = vec![7; MAX_VALUE_BYTES];
    cache.put("a", &largest, SECOND * 60).await.unwrap();
    let refused = cache.put("a", &vec![8; MAX_VALUE_BYTES + 1], SECOND * 60).await;
    assert!(matches!(refused, Err(CoordinationError::TooLarge)), "{refused:?}");
    assert_eq!(cache.get("a").await.unwrap(), Some(largest));
}

/// Counting goes up within a window and begins again after it.
pub async fn counts_within_a_window(counters: &dyn Counters) {
    let window = SECOND * 2;
    let first = counters.count("a", window).await.unwrap();
    assert_eq!(first.count, 1);
    assert!(first.ends_in <= window && first.ends_in > SECOND, "{first:?}");
    sleep(SECOND).await;
    let second = counters.count("a", window).await.unwrap();
    assert_eq!(second.count, 2);
    assert!(second.ends_in <= SECOND, "the window is fixed, but {second:?}");
    sleep(SECOND * 2).await;
    assert_eq!(counters.count("a", window).await.unwrap().count, 1);
}

/// Keys are apart.
pub async fn counts_each_key_by_itself(counters: &dyn Counters) {
    counters.count("a", SECOND * 60).await.unwrap();
    assert_eq!(counters.count("b", SECOND * 60).await.unwrap().count, 1);
}

/// Of many at once each gets a count of its own.
pub async fn counts_every_call_once(counters: &dyn Counters) {
    let calls = join_all((0..200).map(|_| counters.count("a", SECOND * 60))).await;
    let mut counts: Vec<u64> = calls.into_iter().map(|call| call.map(|Count { count, .. }| count).unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=200).collect::<Vec<u64>>());
}
