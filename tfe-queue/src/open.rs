//! Queues and coordination by address.

use std::{sync::Arc, time::Duration};

use crate::{
    coordination::Coordination,
    memory::{MemoryCoordination, MemoryQueue},
    queue::{Queue, VISIBILITY_TIMEOUT},
};

/// What a queue over a broker is told besides the address.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QueueOptions {
    /// The queue's name in the broker. Installations that share a broker need different ones.
    pub name: String,
    /// How long a receiver may take before its hint is given to another one.
    pub visibility_timeout: Duration,
}

/// What coordination is told besides the address.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CoordinationOptions {
    /// The beginning of all names in the backend. Installations that share one need different ones.
    pub prefix: String,
}

/// Why an address cannot be used at all; none of these shows the address, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Part of the address cannot be read. Correct it.
    #[error("the address is malformed; write it like {0}")]
    Malformed(&'static str),
    /// The address begins with something else. Choose one of these.
    #[error("the address must begin with {0}")]
    UnknownScheme(&'static str),
    /// This program was built without the backend. Build it with that feature of `tfe-queue`, or choose another address.
    #[error("this program was built without the feature {0}; choose another address or a build with it")]
    NotBuilt(&'static str),
}

impl Default for QueueOptions {
    /// The name `tfe-hints` and the usual timeout.
    fn default() -> Self {
        Self { name: "tfe-hints".to_owned(), visibility_timeout: VISIBILITY_TIMEOUT }
    }
}

impl Default for CoordinationOptions {
    /// The prefix `tfe`.
    fn default() -> Self {
        Self { prefix: "tfe".to_owned() }
    }
}

/// The queue at an address: `memory:`, `redis://…`, `rediss://…`, `amqp://…` or `amqps://…`.
///
/// A broker is connected to in the background of the current tokio runtime, so one that is away is no error here; ask
/// [`Queue::check`]. With `rediss` and `amqps` the server's certificate is checked against the roots of the operating
/// system, or those in the file that `SSL_CERT_FILE` names.
pub fn open_queue(url: &str, options: QueueOptions) -> Result<Arc<dyn Queue>, OpenError> {
    match scheme(url) {
        "memory" => Ok(Arc::new(MemoryQueue::new())),
        "redis" | "rediss" => redis_queue(url, options),
        "amqp" | "amqps" => amqp_queue(url, options),
        _ => Err(OpenError::UnknownScheme("memory:, redis://, rediss://, amqp:// or amqps://")),
    }
}

/// Coordination at an address: `memory:`, which is for one node, `redis://…` or `rediss://…`.
///
/// As with [`open_queue`], Redis is connected to in the background; ask [`Coordination::check`].
pub fn open_coordination(url: &str, options: CoordinationOptions) -> Result<Arc<dyn Coordination>, OpenError> {
    match scheme(url) {
        "memory" => Ok(Arc::new(MemoryCoordination::new())),
        "redis" | "rediss" => redis_coordination(url, options),
        _ => Err(OpenError::UnknownScheme("memory:, redis:// or rediss://")),
    }
}

fn scheme(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

#[cfg(feature = "redis")]
fn redis_queue(url: &str, options: QueueOptions) -> Result<Arc<dyn Queue>, OpenError> {
    Ok(Arc::new(crate::redis::RedisQueue::open(url, options)?))
}

#[cfg(not(feature = "redis"))]
fn redis_queue(_url: &str, _options: QueueOptions) -> Result<Arc<dyn Queue>, OpenError> {
    Err(OpenError::NotBuilt("redis"))
}

#[cfg(feature = "redis")]
fn redis_coordination(url: &str, options: CoordinationOptions) -> Result<Arc<dyn Coordination>, OpenError> {
    Ok(Arc::new(crate::redis::RedisCoordination::open(url, options)?))
}

#[cfg(not(feature = "redis"))]
fn redis_coordination(_url: &str, _options: CoordinationOptions) -> Result<Arc<dyn Coordination>, OpenError> {
    Err(OpenError::NotBuilt("redis"))
}

#[cfg(feature = "amqp")]
fn amqp_queue(url: &str, options: QueueOptions) -> Result<Arc<dyn Queue>, OpenError> {
    Ok(Arc::new(crate::amqp::AmqpQueue::open(url, options)?))
}

#[cfg(not(feature = "amqp"))]
fn amqp_queue(_url: &str, _options: QueueOptions) -> Result<Arc<dyn Queue>, OpenError> {
    Err(OpenError::NotBuilt("amqp"))
}
