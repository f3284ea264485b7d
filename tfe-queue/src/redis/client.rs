//! Connections to one Redis.

use std::{fmt, future::Future, time::Duration};

use async_trait::async_trait;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection};
use tokio::time::timeout;

use crate::{
    failure::Failure,
    link::{Connect, Link},
    open::OpenError,
    queue::CALL_TIMEOUT,
};

/// How often an idle connection is tried: a broker that is frozen or was replaced is noticed within this and one call.
pub(super) const PULSE: Duration = Duration::from_secs(5);
/// Answers of a server that serves no writes now: a replica after a failover, or one that reads its data.
const USELESS: [&str; 3] = ["READONLY", "MASTERDOWN", "LOADING"];

/// Where a Redis is. Its `Debug` tells nothing, since the password is in there.
#[derive(Clone)]
pub(super) struct Address(Client);

/// One connection for all calls that do not block.
#[derive(Debug)]
pub(super) struct Calls(Link<MultiplexedConnection>);

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, OpenError> {
        let malformed = OpenError::Malformed("redis://user:password@host:6379/0 or rediss://user:password@host:6379/0");
        Client::open(url).map(Self).map_err(|_| malformed)
    }

    /// A connection whose answers are waited for by whoever calls.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CALL_TIMEOUT)).set_response_timeout(None);
        bounded(self.0.get_multiplexed_async_connection_with_config(&config)).await
    }

    /// A connection for subscriptions.
    pub(super) async fn subscriber(&self) -> Result<redis::aio::PubSub, Failure> {
        bounded(self.0.get_async_pubsub()).await
    }
}

impl Calls {
    pub(super) fn new(address: Address) -> Self {
        Self(Link::new(address))
    }

    /// The link below.
    pub(super) fn link(&self) -> &Link<MultiplexedConnection> {
        &self.0
    }

    /// Does one call, within [`CALL_TIMEOUT`] once there is a connection.
    pub(super) async fn run<T, F>(&self, call: impl FnOnce(MultiplexedConnection) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let lease = self.0.session().await?;
        match timeout(CALL_TIMEOUT, call(lease.session.clone())).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                if is_lost(&error) {
                    lease.give_up();
                }
                Err(Failure::new(error))
            }
            Err(_) => {
                lease.give_up();
                Err(Failure::timeout())
            }
        }
    }

    /// Whether Redis answers.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.run(|mut connection| async move { ping(&mut connection).await }).await
    }
}

#[async_trait]
impl Connect for Address {
    type Session = MultiplexedConnection;

    fn broker(&self) -> &'static str {
        "redis"
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        Self::connect(self).await
    }

    async fn ended(&self, session: &MultiplexedConnection) -> Failure {
        let mut session = session.clone();
        loop {
            tokio::time::sleep(PULSE).await;
            if let Err(failure) = bounded(ping(&mut session)).await {
                return failure;
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

/// What a call gives within [`CALL_TIMEOUT`].
pub(super) async fn bounded<T>(call: impl Future<Output = RedisResult<T>>) -> Result<T, Failure> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result.map_err(Failure::new),
        Err(_) => Err(Failure::timeout()),
    }
}

async fn ping(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    redis::cmd("PING").exec_async(connection).await
}

/// Whether the connection is of no use any more.
fn is_lost(error: &RedisError) -> bool {
    error.is_io_error() || error.is_unrecoverable_error() || error.code().is_some_and(|code| USELESS.contains(&code))
}
