//! Wake-up calls and small shared things between the parts of the system.
//!
//! Truth is in the store; what travels here only says "look at X" and may come late, twice, or not at all. Every
//! listener also looks by itself now and then, so a lost hint costs time and never correctness.
//!
//! * [`Queue`]: hints for workers. Each hint goes to one of them and comes back if that one dies.
//! * [`Coordination`]: what nodes share, which is [`Signals`], topics for whoever waits right now, such as a long poll
//!   (each notice goes to all, none is kept); a [`Cache`] for values that can be made again; and [`Counters`] for rate
//!   limits.
//!
//! All of it works in memory, for one node. Several nodes share a RabbitMQ or a Redis, by [`open_queue`] and
//! [`open_coordination`], each behind a cargo feature. Brokers are optional at run time too: they may be away, be
//! frozen or be wiped at any time, calls fail within [`CALL_TIMEOUT`], and everything is back when they are.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(any(feature = "redis", feature = "amqp"))]
mod backoff;
mod clock;
mod coordination;
#[cfg(any(feature = "redis", feature = "amqp"))]
mod failure;
mod hint;
#[cfg(any(feature = "redis", feature = "amqp"))]
mod link;
mod memory;
mod open;
mod queue;
#[cfg(feature = "redis")]
mod redis;
mod signals;
#[cfg(feature = "testing")]
pub mod testing;

#[cfg(feature = "amqp")]
pub use self::amqp::AmqpQueue;
#[cfg(feature = "redis")]
pub use self::redis::{RedisCoordination, RedisQueue};
pub use coordination::{Cache, Coordination, CoordinationError, Count, Counters, MAX_VALUE_BYTES};
pub use hint::Hint;
pub use memory::{MAX_WAITING, MemoryCoordination, MemoryQueue};
pub use open::{CoordinationOptions, OpenError, QueueOptions, open_coordination, open_queue};
pub use queue::{CALL_TIMEOUT, Delivery, Queue, QueueError, Receipt, VISIBILITY_TIMEOUT};
pub use signals::{MAX_TOPICS, MemorySignals, Signals, Watch};
