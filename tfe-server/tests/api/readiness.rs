//! Readiness sees what is wrong before clients do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{Router, body::Body};
use http_body_util::BodyExt;
use serde_json::Value;
use tfe_core::{job::JOBS, record::Kind};
use tfe_server::{Backends, Server, embedded::KeySource};
use tfe_storage::{Batch, Page, Query, Store, StoredRecord, View};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::harness::PATIENCE;

/// Two seconds are promised; a busy machine adds some.
const NOTICED_WITHIN: Duration = Duration::from_secs(4);

/// A store whose calls can be made to hang, as those that wait for a connection do, and that can make the reconciler panic.
#[derive(Debug)]
struct Hanging {
    inner: Arc<dyn Store>,
    reads: AtomicBool,
    commits: AtomicBool,
    jobs_panic: AtomicBool,
}

#[async_trait]
impl Store for Hanging {
    async fn get(&self, kind: &'static Kind, id: &str) -> tfe_storage::Result<Option<StoredRecord>> {
        until_not(&self.reads).await;
        self.inner.get(kind, id).await
    }

    async fn query(&self, query: &Query) -> tfe_storage::Result<Page> {
        until_not(&self.reads).await;
        assert!(query.kind.name != JOBS.name || !self.jobs_panic.load(Ordering::Relaxed), "a bug");
        self.inner.query(query).await
    }

    async fn commit(&self, batch: Batch) -> tfe_storage::Result<()> {
        until_not(&self.commits).await;
        self.inner.commit(batch).await
    }

    async fn view(&self) -> tfe_storage::Result<Box<dyn View>> {
        until_not(&self.reads).await;
        self.inner.view().await
    }
}

impl Hanging {
    fn before(backends: &Backends) -> Self {
        let off = AtomicBool::default;
        Self { inner: backends.store.clone(), reads: off(), commits: off(), jobs_panic: off() }
    }
}

async fn until_not(hangs: &AtomicBool) {
    while hangs.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The status of the readiness and the names of the checks that failed.
async fn readiness(router: &Router) -> (u16, Vec<String>) {
    let request = axum::http::Request::get("/api/v1/health/readiness").body(Body::empty()).unwrap();
    let answer = router.clone().oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap_or_default();
    let checks = body["checks"].as_array().cloned().unwrap_or_default();
    let failed = checks.iter().filter(|check| check["status"] == "ERROR").map(|check| check["check"].as_str().unwrap().to_owned());
    (status, failed.collect())
}

/// How long it takes until readiness has that status and these checks fail.
async fn until_readiness(router: &Router, wanted: (u16, &[&str])) -> Duration {
    let began = Instant::now();
    loop {
        let (status, failed) = readiness(router).await;
        if status == wanted.0 && wanted.1.iter().all(|name| failed.iter().any(|failed| failed == name)) {
            return began.elapsed();
        }
        assert!(began.elapsed() < PATIENCE, "waited too long for {wanted:?}, it is {status} {failed:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_and_a_background_that_stands_still_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let backends = Backends::embedded(&directory.path().join("data"), KeySource::File(directory.path().join("data.key"))).await.unwrap();
    let store = Arc::new(Hanging::before(&backends));
    let server = Server::builder().backends(Backends { store: store.clone(), ..backends }).build().await.unwrap();
    let (router, shutdown) = (server.router(), CancellationToken::new());
    let health = server.app().health.clone();
    let work = tokio::spawn(server.work(shutdown.clone()));
    until_readiness(&router, (200, &[])).await;
    for hangs in [&store.commits, &store.reads] {
        hangs.store(true, Ordering::Relaxed);
        let noticed = until_readiness(&router, (503, &["database"])).await;
        assert!(noticed < NOTICED_WITHIN, "{noticed:?}");
        assert!(health.is_fresh(), "a database that is away is no reason to start again");
        hangs.store(false, Ordering::Relaxed);
        until_readiness(&router, (200, &[])).await;
    }
    shutdown.cancel();
    work.await.unwrap();
    let noticed = until_readiness(&router, (503, &["background"])).await;
    assert!(noticed < NOTICED_WITHIN, "{noticed:?}");
    assert!(!health.is_fresh());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_background_loop_that_panics_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let backends = Backends::embedded(&directory.path().join("data"), KeySource::File(directory.path().join("data.key"))).await.unwrap();
    let store = Arc::new(Hanging::before(&backends));
    let server = Server::builder().backends(Backends { store: store.clone(), ..backends }).build().await.unwrap();
    let (router, shutdown) = (server.router(), CancellationToken::new());
    let health = server.app().health.clone();
    let work = tokio::spawn(server.work(shutdown.clone()));
    until_readiness(&router, (200, &[])).await;
    assert_eq!(health.broken_loop(), None);
    store.jobs_panic.store(true, Ordering::Relaxed);
    // The reconciler has waited for the time of a lease by then.
    until_readiness(&router, (503, &["background"])).await;
    let reason = health.broken_loop().unwrap();
    assert!(reason.contains("reconciler") && reason.contains("a bug"), "{reason}");
    shutdown.cancel();
    work.await.unwrap();
}
