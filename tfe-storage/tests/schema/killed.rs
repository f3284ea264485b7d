//! Whoever is killed while a schema grows is followed by somebody who ends it well.

use std::{collections::BTreeSet, net::SocketAddr};

use sqlx::{Connection, PgConnection};
use tfe_storage::{open_store, testing::kinds};

use super::{
    catalog::{description, unfilled},
    library::{connection, founded},
    patience::until,
    severed::{Cut, Severed},
    support::with_postgres,
};

/// More steps than there are; the test ends at the first that is not reached.
const MOST_STEPS: u32 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_any_step() {
    at_every_step(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_any_step() {
    at_every_step(true).await;
}

/// An index whose build is ended stays there, broken; it is built anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_an_index_is_built() {
    let made = made().await;
    with_postgres(async |url: String| {
        drop(founded(&url, 100).await);
        // A build waits for everybody who looks at an older moment.
        let mut reader = connection(&url).await;
        let mut administrator = connection(&url).await;
        for _ in 0..2 {
            let mut view = reader.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
            sqlx::query("SELECT 1 FROM meta").execute(&mut *view).await.unwrap();
            let opening = tokio::spawn({
                let url = url.clone();
                async move { open_store(&url, kinds::ALL).await.map(drop) }
            });
            until("a build to end", async || broken_indexes(&mut administrator).await > 0 && ends_builder(&mut administrator).await).await;
            opening.await.unwrap().expect_err("its session was ended");
            assert_eq!(broken_indexes(&mut administrator).await, 1);
            view.rollback().await.unwrap();
        }
        assert_ends_well(&url, &made).await;
        assert_eq!(broken_indexes(&mut administrator).await, 0);
    })
    .await;
}

/// A fill whose session is ended again and again goes on from where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_rows_are_filled() {
    let made = made().await;
    with_postgres(async |url: String| {
        drop(founded(&url, 30_000).await);
        let mut administrator = connection(&url).await;
        let mut filled = 0;
        for _ in 0..3 {
            let opening = tokio::spawn({
                let url = url.clone();
                async move { open_store(&url, kinds::ALL).await.map(drop) }
            });
            let before = filled;
            until("rows to be filled", async || {
                // The column is not there at first.
                let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM books WHERE shelf_id IS NOT NULL");
                filled = count.fetch_one(&mut administrator).await.unwrap_or(0);
                filled > before
            })
            .await;
            sqlx::query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tfe' AND datname = current_database()",
            )
            .execute(&mut administrator)
            .await
            .unwrap();
            opening.await.unwrap().expect_err("its session was ended");
        }
        assert!(filled < 30_000, "it was cut off on the way");
        assert_ends_well(&url, &made).await;
    })
    .await;
}

async fn at_every_step(arrives: bool) {
    let made = made().await;
    // Skipped.
    if made.is_empty() {
        return;
    }
    for after in 0..MOST_STEPS {
        let cut = Cut { after, arrives };
        let mut was_cut = true;
        with_postgres(async |url: String| {
            drop(founded(&url, 30).await);
            was_cut = is_cut(&url, cut).await;
            assert_ends_well(&url, &made).await;
        })
        .await;
        if !was_cut {
            assert!(after > 30, "there are more steps than {after}");
            return;
        }
    }
    panic!("there are more than {MOST_STEPS} steps");
}

/// Grows the schema over a network that breaks, and says whether that came to pass.
async fn is_cut(url: &str, cut: Cut) -> bool {
    let (before, rest) = url.split_once('@').unwrap();
    let (host, database) = rest.split_once('/').unwrap();
    let server: SocketAddr = host.parse().unwrap();
    let network = Severed::start(server, cut).await;
    let through = format!("{before}@{}/{database}?sslmode=disable", network.address);
    tokio::select! {
        biased;
        () = network.broken() => true,
        opened = open_store(&through, kinds::ALL) => {
            // An error has no other reason, even if it is seen first.
            if opened.is_err() {
                network.broken().await;
            }
            opened.is_err()
        }
    }
}

/// What a schema is like that did not grow; nothing where the test is skipped.
async fn made() -> BTreeSet<String> {
    let mut made = BTreeSet::new();
    with_postgres(async |url: String| {
        drop(open_store(&url, kinds::ALL).await.unwrap());
        made = description(&url).await;
    })
    .await;
    made
}

async fn assert_ends_well(url: &str, made: &BTreeSet<String>) {
    drop(open_store(url, kinds::ALL).await.unwrap());
    assert_eq!(&description(url).await, made);
    assert_eq!(unfilled(url).await, 0);
}

async fn broken_indexes(administrator: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetch_one(administrator).await.unwrap()
}

/// Ends the session that builds an index, once it waits for others.
async fn ends_builder(administrator: &mut PgConnection) -> bool {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'virtualxid' \
               AND query LIKE 'CREATE % INDEX CONCURRENTLY%'";
    sqlx::query_scalar(sql).fetch_optional(administrator).await.unwrap().unwrap_or(false)
}
