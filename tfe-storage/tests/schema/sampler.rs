//! Looks at all locks every few milliseconds.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::PgConnection;
use tokio::task::JoinHandle;

use super::library::connection;

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(2);
/// The session that changes the schema.
const CHANGER: &str = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 7628389 AND objid = 1 AND granted";
/// The seconds for which that one has waited longest that waits for anything and is not the changer itself, which may.
const WAITS: &str = "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0)::float8 FROM pg_locks \
                     WHERE NOT granted AND pid <> $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
/// The locks on the tables that the changer has, and what it does.
const LOCKS: &str = "SELECT l.mode, split_part(a.query, ' ', 1), regexp_replace(a.query, '^(SET LOCAL [^;]*; )?((\\w+ ){2}).*$', '\\2') \
                     FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
                     WHERE l.granted AND l.locktype = 'relation' AND l.pid = $1 AND l.relation IN ('books'::regclass, 'shelves'::regclass)";

/// A look every few milliseconds.
#[derive(Debug)]
pub(crate) struct Sampler {
    ends: Arc<AtomicBool>,
    looking: JoinHandle<Seen>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The longest time for which somebody waited.
    pub(crate) longest_wait: Duration,
    /// The longest time for which the changer kept everybody out of a table.
    pub(crate) longest_exclusive: Duration,
    /// Locks of the changer, each with the first words of what it did.
    pub(crate) locks: BTreeSet<(String, String)>,
    /// How often it looked.
    pub(crate) samples: u32,
    exclusive: BTreeSet<String>,
}

impl Sampler {
    pub(crate) fn start(url: &str) -> Self {
        let (ends, url) = (Arc::new(AtomicBool::new(false)), url.to_owned());
        let until = ends.clone();
        let looking = tokio::spawn(async move { look(connection(&url).await, &until).await });
        Self { ends, looking }
    }

    pub(crate) async fn end(self) -> Seen {
        self.ends.store(true, Ordering::SeqCst);
        self.looking.await.unwrap()
    }
}

impl Seen {
    /// Whether everybody was kept out during a statement that begins with a word.
    pub(crate) fn has_exclusive(&self, word: &str) -> bool {
        self.exclusive.contains(word)
    }
}

async fn look(mut connection: PgConnection, ends: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut exclusive_since = None;
    while !ends.load(Ordering::SeqCst) {
        tokio::time::sleep(PAUSE).await;
        let changer: Option<i32> = sqlx::query_scalar(CHANGER).fetch_optional(&mut connection).await.unwrap();
        let waited: f64 = sqlx::query_scalar(WAITS).bind(changer.unwrap_or(0)).fetch_one(&mut connection).await.unwrap();
        seen.longest_wait = seen.longest_wait.max(Duration::from_secs_f64(waited.max(0.0)));
        let locks: Vec<(String, String, String)> =
            sqlx::query_as(LOCKS).bind(changer.unwrap_or(0)).fetch_all(&mut connection).await.unwrap();
        seen.samples += 1;
        if locks.iter().any(|(mode, ..)| mode == "AccessExclusiveLock") {
            let since = *exclusive_since.get_or_insert_with(Instant::now);
            seen.longest_exclusive = seen.longest_exclusive.max(since.elapsed());
        } else {
            exclusive_since = None;
        }
        for (mode, word, words) in locks {
            if mode == "AccessExclusiveLock" {
                seen.exclusive.insert(word);
            }
            seen.locks.insert((mode, words));
        }
    }
    seen
}
