//! Older and newer programs work with the same rows, and several newer ones start at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use sqlx::{Connection, Executor};
use tfe_storage::{
    Error, Query, Result, Store, StoreExt, Write, open_store,
    testing::kinds::{self, BOOKS, Book},
};
use tokio::task::JoinHandle;

use super::{
    catalog::unfilled,
    library::{EARLIER, EARLIER_BOOKS, batch, connection, founded, written},
    patience::until,
    support::with_postgres,
};

/// How many books there are at first: a few pages.
const COUNT: u32 = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_older_program_writes_is_found_by_the_new_column() {
    with_postgres(async |url: String| {
        let earlier = founded(&url, COUNT).await;
        let (ends, inserted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let inserting = tokio::spawn(insert(earlier.clone(), ends.clone(), inserted.clone()));
        let changing = tokio::spawn(change(earlier.clone(), ends.clone()));
        let later = open_store(&url, kinds::ALL).await.unwrap();
        let during = inserted.load(Ordering::SeqCst);
        assert!(during > 0, "it was written to meanwhile");
        until("more books", async || inserted.load(Ordering::SeqCst) >= during + 50).await;
        ends.store(true, Ordering::SeqCst);
        inserting.await.unwrap();
        let changed = changing.await.unwrap();
        for number in 0..inserted.load(Ordering::SeqCst) {
            let id = format!("w{number}");
            let found = later.find_by::<Book>("isbn", &id).await.unwrap().unwrap();
            assert_eq!(found.id.as_str(), id);
        }
        let found = later.query(&Query::new(&BOOKS).equals("genre", "changed").counted()).await.unwrap();
        assert_eq!(found.total, changed);
        assert_eq!(unfilled(&url).await, 0);
        // What the newer program writes is seen by the older one, and kept by the same promises.
        later.update::<Book>("b1", |book| Book { isbn: Some("w0".to_owned()), ..book }).await.expect_err("it is taken");
        later.update::<Book>("b1", |book| Book { title: "new".to_owned(), ..book }).await.unwrap();
        assert_eq!(earlier.query(&Query::new(&EARLIER_BOOKS).equals("title", "new")).await.unwrap().items.len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_do_it_once() {
    with_postgres(async |url: String| {
        let earlier = founded(&url, COUNT).await;
        for opening in (0..4).map(|_| opened(&url)).collect::<Vec<_>>() {
            opening.await.unwrap().unwrap();
        }
        assert_eq!(unfilled(&url).await, 0);
        let mut administrator = connection(&url).await;
        let updates = "SELECT pg_stat_force_next_flush(), n_tup_upd FROM pg_stat_user_tables WHERE relname = 'books'";
        // A session counts its updates when it has ended.
        let mut count = 0;
        until("the count", async || {
            ((), count) = sqlx::query_as::<_, ((), i64)>(updates).fetch_one(&mut administrator).await.unwrap();
            count >= i64::from(COUNT)
        })
        .await;
        assert_eq!(count, i64::from(COUNT), "every row was filled once");
        drop(earlier);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_node_is_at_it_older_ones_start_and_newer_ones_wait() {
    with_postgres(async |url: String| {
        drop(founded(&url, 20).await);
        // An index is not done before everybody is who looks at an older moment.
        let mut reader = connection(&url).await;
        let mut view = reader.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        view.execute("SELECT 1 FROM meta").await.unwrap();
        let first = opened(&url);
        let mut administrator = connection(&url).await;
        let builds = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE % INDEX CONCURRENTLY%' AND wait_event = 'virtualxid'";
        until("the build of an index", async || sqlx::query_scalar::<_, i64>(builds).fetch_one(&mut administrator).await.unwrap() > 0)
            .await;
        let second = opened(&url);
        let older = tokio::time::timeout(Duration::from_secs(20), open_store(&url, EARLIER)).await;
        older.expect("it has nothing to wait for").unwrap();
        assert!(!first.is_finished() && !second.is_finished());
        view.rollback().await.unwrap();
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
    })
    .await;
}

fn opened(url: &str) -> JoinHandle<Result<()>> {
    let url = url.to_owned();
    tokio::spawn(async move { open_store(&url, kinds::ALL).await.map(drop) })
}

async fn insert(store: Arc<dyn Store>, ends: Arc<AtomicBool>, inserted: Arc<AtomicU32>) {
    while !ends.load(Ordering::SeqCst) {
        store.commit(batch(written(inserted.load(Ordering::SeqCst)))).await.unwrap();
        inserted.fetch_add(1, Ordering::SeqCst);
    }
}

/// Gives every seventh book another genre, as long as it may; says how many have it.
async fn change(store: Arc<dyn Store>, ends: Arc<AtomicBool>) -> u64 {
    let mut changed = 0;
    for number in (0..COUNT).step_by(7).take_while(|_| !ends.load(Ordering::SeqCst)) {
        let mut record = store.get(&EARLIER_BOOKS, &format!("b{number}")).await.unwrap().unwrap();
        record.body["about"]["genre"] = "changed".into();
        match store.commit(batch(Write::Update(&EARLIER_BOOKS, record))).await {
            Ok(()) => changed += 1,
            Err(Error::Conflict { .. }) => panic!("filling a column is no change of the record"),
            Err(error) => panic!("{error:?}"),
        }
    }
    changed
}
