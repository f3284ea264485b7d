//! A million rows grow four columns, five indexes and two references under load, and nobody waits for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tfe_storage::{Store, Write, open_store, sql::SCHEMA_LOCK_TIMEOUT, testing::kinds};

use super::{
    catalog::unfilled,
    library::{EARLIER_BOOKS, batch, founded, written},
    sampler::Sampler,
    support::with_postgres,
};

const ROWS: u32 = 1_000_000;
/// How long somebody may have waited: behind a change that waits for its lock, and then does what takes a moment. A machine that is busy
/// with other tests is given some more; a lock that is kept while rows are filled or an index is built would be seconds.
const LONGEST_WAIT: Duration = SCHEMA_LOCK_TIMEOUT.saturating_mul(5);
/// What a client of the load does between two calls: nothing, for so long.
const PAUSE: Duration = Duration::from_millis(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stderr, reason = "the figures are what one wants to see")]
async fn a_million_rows_grow_and_nobody_waits() {
    with_postgres(async |url: String| {
        let begun = Instant::now();
        let earlier = founded(&url, ROWS).await;
        eprintln!("{ROWS} rows made in {:.1?}", begun.elapsed());
        let load = Load::default();
        let clients = [tokio::spawn(load.clone().insert(earlier.clone())), tokio::spawn(load.clone().update(earlier.clone())),
            tokio::spawn(load.clone().read(earlier.clone()))];
        let sampler = Sampler::start(&url);
        let begun = Instant::now();
        let later = open_store(&url, kinds::ALL).await.unwrap();
        let took = begun.elapsed();
        let seen = sampler.end().await;
        load.ends.store(true, Ordering::SeqCst);
        for client in clients {
            client.await.unwrap();
        }
        let [inserted, updated, read] = [&load.inserted, &load.updated, &load.read].map(|count| count.load(Ordering::SeqCst));
        eprintln!(
            "grown in {took:.1?} ({:.0} rows a second); meanwhile {inserted} inserts, {updated} updates and {read} reads; longest wait for a \
             lock {:.0?}, exclusive lock held for {:.0?} at most; {} samples",
            f64::from(ROWS) / took.as_secs_f64(), seen.longest_wait, seen.longest_exclusive, seen.samples,
        );
        eprintln!("locks of the change on the table: {:#?}", seen.locks);
        assert!(inserted > 100 && updated > 100 && read > 100, "the load went on");
        assert!(seen.longest_wait < LONGEST_WAIT, "somebody waited for {:?}", seen.longest_wait);
        assert!(seen.longest_exclusive < LONGEST_WAIT, "everybody was locked out for {:?}", seen.longest_exclusive);
        for slow in ["WITH", "CREATE", "DROP"] {
            assert!(!seen.has_exclusive(slow), "everybody was locked out while it took its time: {slow}");
        }
        assert_eq!(unfilled(&url).await, 0);
        drop(later);
    })
    .await;
}

/// What the earlier program does all the time.
#[derive(Debug, Clone, Default)]
struct Load {
    ends: Arc<AtomicBool>,
    inserted: Arc<AtomicU32>,
    updated: Arc<AtomicU32>,
    read: Arc<AtomicU32>,
}

impl Load {
    async fn insert(self, store: Arc<dyn Store>) {
        while let Some(number) = self.next(&self.inserted).await {
            store.commit(batch(written(number))).await.unwrap();
        }
    }

    async fn update(self, store: Arc<dyn Store>) {
        while let Some(number) = self.next(&self.updated).await {
            let mut record = store.get(&EARLIER_BOOKS, &somewhere(number)).await.unwrap().unwrap();
            record.body["about"]["genre"] = "changed".into();
            store.commit(batch(Write::Update(&EARLIER_BOOKS, record))).await.unwrap();
        }
    }

    async fn read(self, store: Arc<dyn Store>) {
        while let Some(number) = self.next(&self.read).await {
            assert!(store.get(&EARLIER_BOOKS, &somewhere(number)).await.unwrap().is_some());
        }
    }

    async fn next(&self, count: &AtomicU32) -> Option<u32> {
        tokio::time::sleep(PAUSE).await;
        (!self.ends.load(Ordering::SeqCst)).then(|| count.fetch_add(1, Ordering::SeqCst))
    }
}

/// The id of a book; after each other they are all over the table.
fn somewhere(number: u32) -> String {
    format!("b{}", u64::from(number) * 7_919 % u64::from(ROWS))
}
