//! What a store does when its database goes away: it waits, and commits happen once or not at all.

#![cfg(feature = "postgres")]

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use sqlx::Connection;
use support::with_postgres;
use tfe_storage::{
    Batch, Error, Store, StoreExt, open_store,
    testing::{
        kinds::{self, Shelf, shelf},
        proxy::{Damage, Fault, Proxy},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_happens_once() {
    broken_commits(Fault { on: b"COMMIT", damage: Damage::Unanswered, times: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_did_not_arrive_happens_once() {
    broken_commits(Fault { on: b"COMMIT", damage: Damage::Lost, times: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_did_not_arrive_happens_once() {
    broken_commits(Fault { on: b"UPDATE", damage: Damage::Unanswered, times: 1 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_for_a_database_that_is_away() {
    with_proxy(async |store, proxy, server| {
        insert(&*store).await;
        proxy.switch(None);
        let update = tokio::spawn({
            let store = store.clone();
            async move { store.update::<Shelf>("a", counted).await }
        });
        let read = tokio::spawn(async move { store.find::<Shelf>("a").await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!update.is_finished() && !read.is_finished());
        proxy.switch(Some(server));
        update.await.unwrap().unwrap();
        assert!(read.await.unwrap().unwrap().is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_ended_are_replaced() {
    with_postgres(async |url| {
        let store = open_store(&url, kinds::ALL).await.unwrap();
        insert(&*store).await;
        let mut administrator = sqlx::PgConnection::connect(&url).await.unwrap();
        for round in 0..5 {
            // Other tests have databases of their own.
            let ours =
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tfe' AND datname = current_database()";
            sqlx::query(ours).execute(&mut administrator).await.unwrap();
            store.update::<Shelf>("a", counted).await.unwrap();
            assert_eq!(count(&*store).await, round + 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_said_at_once() {
    with_postgres(async |url| {
        let begun = std::time::Instant::now();
        let (_, rest) = url.split_once('@').unwrap();
        let wrong = format!("postgres://nobody@{rest}");
        assert!(matches!(open_store(&wrong, kinds::ALL).await, Err(Error::Unavailable(_))));
        assert!(begun.elapsed() < Duration::from_secs(5), "an answer is not waited for again");
    })
    .await;
}

async fn broken_commits(fault: Fault) {
    with_proxy(async |store, proxy, _| {
        insert(&*store).await;
        for round in 0..20 {
            proxy.inject(fault.clone());
            store.update::<Shelf>("a", counted).await.unwrap();
            assert_eq!(count(&*store).await, round + 1);
        }
    })
    .await;
}

async fn with_proxy(test: impl AsyncFnOnce(Arc<dyn Store>, Proxy, SocketAddr)) {
    with_postgres(async |url| {
        let (before, rest) = url.split_once('@').unwrap();
        let (host, database) = rest.split_once('/').unwrap();
        let server: SocketAddr = host.parse().unwrap();
        let proxy = Proxy::start(server).await.unwrap();
        let url = format!("{before}@{}/{database}?sslmode=disable", proxy.address());
        let store = open_store(&url, kinds::ALL).await.unwrap();
        test(store, proxy, server).await;
    })
    .await;
}

async fn insert(store: &dyn Store) {
    store.commit(Batch::new().insert(&shelf("a"))).await.unwrap();
}

fn counted(shelf: Shelf) -> Shelf {
    Shelf { count: shelf.count + 1, ..shelf }
}

async fn count(store: &dyn Store) -> u64 {
    store.find::<Shelf>("a").await.unwrap().unwrap().count
}
