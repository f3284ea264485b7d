//! A queue in a stream.
//!
//! Hints that are ready are entries of a stream with one consumer group; delayed ones are in a set sorted by when they
//! are due, and whoever takes hints moves the due ones in the same atomic step. All times are those of Redis.
//!
//! All receivers are one consumer of the group. What tells them apart is how often an entry was delivered: that number
//! is in the receipt, and only the receipt with the latest number counts. So there is no list of consumers to clean up
//! after processes that died, whose hints come again like any other's, once Redis saw nobody settle them in time.

use std::{
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::FutureExt;
use redis::{RedisError, RedisResult, Script, aio::MultiplexedConnection};
use tokio::time::{Instant, timeout};

use super::client::{Address, Calls};
use crate::{
    clock,
    failure::Failure,
    hint::Hint,
    open::{OpenError, QueueOptions},
    queue::{CALL_TIMEOUT, Delivery, Queue, QueueError, Receipt},
};

/// Most hints that wait or are being worked on: some twenty megabytes, and more than an installation can have to do.
const MAX_WAITING: usize = 100_000;
/// Most hints given at once, and most delayed ones moved at once, which bounds how long a script holds up Redis.
const MAX_BATCH: usize = 100;
/// How long a receiver sleeps at most before it looks for hints that became due.
const RESOLUTION: Duration = Duration::from_millis(500);
/// Most idle connections that are kept for receivers; a server has a few loops, each with one receiver.
const MAX_IDLE: usize = 8;
/// The one group.
const GROUP: &str = "workers";

static PUBLISH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/publish.lua")));
static TAKE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/take.lua")));
static SETTLE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/settle.lua")));

/// A queue in a stream of Redis.
pub struct RedisQueue {
    shared: Arc<Shared>,
    address: Address,
    visibility_timeout: Duration,
    /// Where the search for late deliveries goes on, so that many in the front do not hide those behind them.
    cursor: Mutex<String>,
    /// Connections of receivers that do not wait now. A blocking read holds up all that is behind it.
    idle: Mutex<Vec<MultiplexedConnection>>,
}

struct Shared {
    calls: Calls,
    ready: String,
    delayed: String,
}

/// An entry of the stream in the hands of a receiver.
struct Entry {
    shared: Arc<Shared>,
    id: String,
    deliveries: u64,
    hint: Hint,
}

/// The id of an entry, how often it was delivered, and its hint as JSON.
type Taken = (String, u64, Vec<u8>);
/// What `XREADGROUP` answers: for each stream its entries, each with fields and values in turn.
type Read = Option<Vec<(String, Vec<(String, Vec<Vec<u8>>)>)>>;

impl RedisQueue {
    /// The queue at `redis://` or `rediss://`, which is connected to in the background of the current tokio runtime.
    ///
    /// Fails only when the URL is malformed.
    pub fn open(url: &str, options: QueueOptions) -> Result<Self, OpenError> {
        let address = Address::parse(url)?;
        // Braces keep both keys in one place where keys are spread over servers.
        let key = |part: &str| format!("{{{}}}:{part}", options.name);
        Ok(Self {
            shared: Arc::new(Shared { calls: Calls::new(address.clone()), ready: key("ready"), delayed: key("delayed") }),
            address,
            visibility_timeout: options.visibility_timeout,
            cursor: Mutex::new("0-0".to_owned()),
            idle: Mutex::default(),
        })
    }
}

#[async_trait]
impl Queue for RedisQueue {
    async fn publish(&self, hint: Hint, delay: Duration) -> Result<(), QueueError> {
        let mut call = PUBLISH.key(&self.shared.ready);
        call.key(&self.shared.delayed).arg(encode(&hint)).arg(clock::milliseconds(delay)).arg(MAX_WAITING);
        let added: bool = self.shared.calls.run(|mut connection| async move { call.invoke_async(&mut connection).await }).await?;
        if added { Ok(()) } else { Err(QueueError::Full) }
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Delivery>, QueueError> {
        let max = max.min(MAX_BATCH);
        if max == 0 {
            return Ok(Vec::new());
        }
        let taken = self.shared.calls.link().keep_looking(wait, |deadline| self.look(max, deadline).boxed()).await?;
        Ok(self.deliveries(taken).await)
    }

    fn visibility_timeout(&self) -> Duration {
        self.visibility_timeout
    }

    async fn check(&self) -> Result<(), QueueError> {
        Ok(self.shared.calls.check().await?)
    }
}

impl RedisQueue {
    /// Takes what is there, or waits a little for new entries.
    async fn look(&self, max: usize, deadline: Instant) -> Result<Vec<Taken>, Failure> {
        let taken = self.take(max).await?;
        let wait = deadline.saturating_duration_since(Instant::now()).min(RESOLUTION);
        if taken.is_empty() && !wait.is_zero() { self.wait(max, wait).await } else { Ok(taken) }
    }

    async fn take(&self, max: usize) -> Result<Vec<Taken>, Failure> {
        let mut call = TAKE.key(&self.shared.ready);
        let cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        call.key(&self.shared.delayed).arg(GROUP).arg(clock::milliseconds(self.visibility_timeout)).arg(max).arg(cursor).arg(MAX_BATCH);
        let (cursor, taken): (String, Vec<Taken>) =
            self.shared.calls.run(|mut connection| async move { call.invoke_async(&mut connection).await }).await?;
        *self.cursor.lock().unwrap_or_else(PoisonError::into_inner) = cursor;
        Ok(taken)
    }

    /// Reads new entries on a connection of its own. If the caller goes away meanwhile, so does the connection, and what
    /// it was given comes again after the visibility timeout.
    async fn wait(&self, max: usize, wait: Duration) -> Result<Vec<Taken>, Failure> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.address.connect().await?,
        };
        let mut call = redis::cmd("XREADGROUP");
        // Zero would be for ever.
        call.arg("GROUP").arg(GROUP).arg("worker").arg("COUNT").arg(max).arg("BLOCK").arg(clock::milliseconds(wait).max(1));
        call.arg("STREAMS").arg(&self.shared.ready).arg(">");
        let read: RedisResult<Read> =
            timeout(wait + CALL_TIMEOUT, call.query_async(&mut connection)).await.map_err(|_| Failure::timeout())?;
        let taken = match read {
            Ok(read) => read.into_iter().flatten().flat_map(|(_, entries)| entries).filter_map(first_delivery).collect(),
            Err(error) if was_wiped(&error) => Vec::new(),
            Err(error) => return Err(Failure::new(error)),
        };
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
        Ok(taken)
    }

    async fn deliveries(&self, taken: Vec<Taken>) -> Vec<Delivery> {
        let mut deliveries = Vec::with_capacity(taken.len());
        for (id, number, json) in taken {
            let shared = Arc::clone(&self.shared);
            match serde_json::from_slice::<Hint>(&json) {
                Ok(hint) => {
                    let entry = Entry { shared, id, deliveries: number, hint: hint.clone() };
                    deliveries.push(Delivery::new(hint, Box::new(entry)));
                }
                Err(error) => {
                    tracing::warn!(%error, "a hint that nobody here understands is dropped; is a newer version at work?");
                    // If this fails it comes again and is dropped then.
                    let _ = shared.settle(&id, number, None).await;
                }
            }
        }
        deliveries
    }
}

impl Shared {
    /// Ends a delivery, for ever or for a while. Nothing happens if it is not the latest of its hint any more.
    async fn settle(&self, id: &str, deliveries: u64, again: Option<(&Hint, Duration)>) -> Result<(), QueueError> {
        let mut call = SETTLE.key(&self.ready);
        call.key(&self.delayed).arg(GROUP).arg(id).arg(deliveries);
        if let Some((hint, after)) = again {
            call.arg(encode(hint)).arg(clock::milliseconds(after));
        }
        Ok(self.calls.run(|mut connection| async move { call.invoke_async(&mut connection).await }).await?)
    }
}

#[async_trait]
impl Receipt for Entry {
    async fn ack(self: Box<Self>) -> Result<(), QueueError> {
        self.shared.settle(&self.id, self.deliveries, None).await
    }

    async fn retry(self: Box<Self>, after: Duration) -> Result<(), QueueError> {
        self.shared.settle(&self.id, self.deliveries, Some((&self.hint, after))).await
    }
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisQueue").field("ready", &self.shared.ready).finish_non_exhaustive()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("id", &self.id).field("deliveries", &self.deliveries).finish_non_exhaustive()
    }
}

fn encode(hint: &Hint) -> String {
    serde_json::to_string(hint).expect("a hint is strings")
}

fn first_delivery((id, fields): (String, Vec<Vec<u8>>)) -> Option<Taken> {
    Some((id, 1, fields.into_iter().nth(1)?))
}

/// Whether the stream or its group vanished, before or during the read.
fn was_wiped(error: &RedisError) -> bool {
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
}
