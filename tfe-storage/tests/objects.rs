//! Blobs in a real S3-compatible store, and what happens when that store misbehaves.
//!
//! The store is named by `TFE_TEST_S3`, like `http://127.0.0.1:9000`, and takes any credentials.

#![cfg(feature = "s3")]

use std::{
    env,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use object_store::ObjectStore;
use tfe_core::{blob::Blob, time::Timestamp};
use tfe_storage::{
    BlobError, Blobs, Finding, MemoryVault, blobs,
    testing::proxy::{Damage, Fault, Proxy},
};

const BUSY: &[u8] = b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const BROKEN: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

static NEXT: AtomicU32 = AtomicU32::new(0);

mod conformance {
    use super::{Arc, Blobs, ObjectStore, opened, server, vault};

    async fn with_blobs(test: impl AsyncFnOnce(Blobs, Arc<dyn ObjectStore>)) {
        let Some(server) = server() else { return };
        let objects = opened(server);
        test(Blobs::new(Arc::clone(&objects), vault()), objects).await;
    }

    tfe_storage::blobs_conformance!(with_blobs);
}

#[tokio::test]
async fn a_real_store_can_do_everything() {
    let Some(server) = server() else { return };
    let findings = blobs::probe(&*opened(server)).await;
    assert_eq!(findings.len(), 7);
    assert!(findings.iter().all(Finding::is_good), "{findings:#?}");
}

#[tokio::test]
async fn a_store_that_forbids_is_named() {
    with_proxy(async |objects, _, proxy| {
        proxy.inject(Fault { on: b"PUT ", damage: Damage::Answered(FORBIDDEN), times: 1 });
        let findings = blobs::probe(&*objects).await;
        let problem = findings[0].problem.as_ref().expect("writing is forbidden");
        assert!(problem.remedy.contains("s3:PutObject"), "{problem:?}");
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_busy_or_broken_for_a_moment_is_tried_again() {
    with_proxy(async |_, blobs, proxy| {
        for (number, damage) in [Damage::Answered(BUSY), Damage::Answered(BROKEN)].into_iter().enumerate() {
            proxy.inject(Fault { on: b"PUT ", damage, times: 3 });
            let blob = put(&blobs, number, 1000).await.unwrap();
            proxy.inject(Fault { on: b"GET ", damage, times: 3 });
            assert_eq!(blobs.read_all(&blob, u64::MAX).await.unwrap(), content(1000));
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_continued() {
    with_proxy(async |_, blobs, proxy| {
        let blob = put(&blobs, 1, 3_000_000).await.unwrap();
        for cut in [10, 1_000, 100_000, 2_500_000] {
            proxy.inject(Fault { on: b"GET ", damage: Damage::Cut(cut), times: 2 });
            assert_eq!(blobs.read_all(&blob, u64::MAX).await.unwrap(), content(3_000_000), "cut after {cut} bytes");
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_that_stays_broken_is_unavailable() {
    with_proxy(async |_, blobs, proxy| {
        let blob = put(&blobs, 1, 1000).await.unwrap();
        proxy.inject(Fault { on: b"GET ", damage: Damage::Answered(BROKEN), times: u32::MAX });
        let result = blobs.read_all(&blob, u64::MAX).await;
        assert!(matches!(result, Err(BlobError::Unavailable(_))), "{result:?}");
    })
    .await;
}

#[tokio::test]
async fn a_slow_store_is_waited_for() {
    with_proxy(async |_, blobs, proxy| {
        proxy.inject(Fault { on: b"PUT ", damage: Damage::Delayed(Duration::from_secs(2)), times: 1 });
        let blob = put(&blobs, 1, 1000).await.unwrap();
        proxy.inject(Fault { on: b"GET ", damage: Damage::Delayed(Duration::from_secs(2)), times: 1 });
        assert_eq!(blobs.read_all(&blob, u64::MAX).await.unwrap(), content(1000));
    })
    .await;
}

async fn with_proxy(test: impl AsyncFnOnce(Arc<dyn ObjectStore>, Blobs, Proxy)) {
    let Some(server) = server() else { return };
    let proxy = Proxy::start(server).await.unwrap();
    let objects = opened(proxy.address());
    test(objects.clone(), Blobs::new(objects, vault()), proxy).await;
}

/// A place of its own for each test.
fn opened(address: SocketAddr) -> Arc<dyn ObjectStore> {
    let bucket = env::var("TFE_TEST_S3_BUCKET").unwrap_or_else(|_| "tfe-test".to_owned());
    let prefix = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let url = format!("s3://{bucket}/{prefix}?endpoint=http://{address}&region=us-east-1&allow_http=true&access_key_id=test");
    tfe_storage::open_objects(&url, &[("secret_access_key".to_owned(), "test".into())]).unwrap()
}

#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn server() -> Option<SocketAddr> {
    let Ok(url) = env::var("TFE_TEST_S3") else {
        let required = ["CI", "TFE_TEST_REQUIRE"].iter().any(|name| env::var_os(name).is_some());
        assert!(!required, "TFE_TEST_S3 must name a store, like http://127.0.0.1:9000");
        eprintln!("skipped: TFE_TEST_S3 names no store");
        return None;
    };
    Some(url.trim_start_matches("http://").trim_end_matches('/').parse().expect("TFE_TEST_S3 is http://ADDRESS:PORT"))
}

fn vault() -> Arc<MemoryVault> {
    Arc::new(MemoryVault::new().unwrap())
}

fn content(length: usize) -> Bytes {
    (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

async fn put(blobs: &Blobs, number: usize, length: usize) -> Result<Blob, BlobError> {
    blobs.put_bytes(format!("blob-test{number}").as_str().into(), Timestamp::default(), content(length)).await
}
