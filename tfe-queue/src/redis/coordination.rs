//! What nodes share, in Redis.

use std::{
    fmt,
    sync::{Arc, LazyLock},
    time::Duration,
};

use async_trait::async_trait;
use redis::Script;
use tokio::{sync::watch, time::timeout};

use super::{
    client::{Address, Calls},
    outbox::Outbox,
    signals::{self, Channel},
};
use crate::{
    clock,
    coordination::{Cache, Coordination, CoordinationError, Count, Counters, check_size},
    failure::Failure,
    link::Background,
    open::{CoordinationOptions, OpenError},
    queue::CALL_TIMEOUT,
    signals::{MemorySignals, Signals, Watch},
};

static COUNT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/count.lua")));

/// Signals, a cache and counters that all nodes with the same Redis share.
///
/// Uses two connections: one for calls, one to hear notices.
pub struct RedisCoordination {
    prefix: String,
    calls: Arc<Calls>,
    local: MemorySignals,
    outbox: Arc<Outbox>,
    hears: watch::Receiver<bool>,
    _tasks: [Background; 2],
}

impl RedisCoordination {
    /// Coordination at `redis://` or `rediss://`, which is connected to in the background of the current tokio runtime.
    ///
    /// Fails only when the URL is malformed.
    pub fn open(url: &str, options: CoordinationOptions) -> Result<Self, OpenError> {
        let address = Address::parse(url)?;
        let prefix = options.prefix;
        let calls = Arc::new(Calls::new(address.clone()));
        let outbox = Arc::<Outbox>::default();
        let local = MemorySignals::new();
        let (hearing, hears) = watch::channel(false);
        let node = getrandom::u64().expect("the operating system has random bytes");
        let channel = Channel { name: format!("{prefix}:signals").into(), node: format!("{node:016x}").into() };
        let tasks = [
            Background::spawn(signals::send(channel.clone(), Arc::clone(&calls), Arc::clone(&outbox))),
            Background::spawn(signals::listen(channel, address, local.clone(), hearing)),
        ];
        Ok(Self { prefix, calls, local, outbox, hears, _tasks: tasks })
    }
}

#[async_trait]
impl Coordination for RedisCoordination {
    async fn check(&self) -> Result<(), CoordinationError> {
        self.calls.check().await?;
        let mut hears = self.hears.clone();
        match timeout(CALL_TIMEOUT, hears.wait_for(|hears| *hears)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Failure::new("notices of other nodes are not heard").into()),
        }
    }
}

impl Signals for RedisCoordination {
    fn notify(&self, topic: &str) {
        self.local.notify(topic);
        self.outbox.add(topic);
    }

    fn watch(&self, topic: &str) -> Watch {
        self.local.watch(topic)
    }
}

#[async_trait]
impl Cache for RedisCoordination {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, CoordinationError> {
        let mut get = redis::cmd("GET");
        get.arg(self.cached(key));
        Ok(self.calls.run(|mut connection| async move { get.query_async(&mut connection).await }).await?)
    }

    async fn put(&self, key: &str, value: &[u8], time_to_live: Duration) -> Result<(), CoordinationError> {
        check_size(value)?;
        let mut set = redis::cmd("SET");
        // Zero is no time to live for Redis, and a millisecond is as good.
        set.arg(self.cached(key)).arg(value).arg("PX").arg(clock::milliseconds(time_to_live).max(1));
        Ok(self.calls.run(|mut connection| async move { set.exec_async(&mut connection).await }).await?)
    }

    async fn remove(&self, key: &str) -> Result<(), CoordinationError> {
        let mut del = redis::cmd("DEL");
        del.arg(self.cached(key));
        Ok(self.calls.run(|mut connection| async move { del.exec_async(&mut connection).await }).await?)
    }
}

#[async_trait]
impl Counters for RedisCoordination {
    async fn count(&self, key: &str, window: Duration) -> Result<Count, CoordinationError> {
        let mut call = COUNT.key(format!("{}:counter:{key}", self.prefix));
        call.arg(clock::milliseconds(window).max(1));
        let (count, left) = self.calls.run(|mut connection| async move { call.invoke_async(&mut connection).await }).await?;
        Ok(Count { count, ends_in: Duration::from_millis(left) })
    }
}

impl RedisCoordination {
    fn cached(&self, key: &str) -> String {
        format!("{}:cache:{key}", self.prefix)
    }
}

impl fmt::Debug for RedisCoordination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCoordination").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
