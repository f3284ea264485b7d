//! Redis 6.2 or later, as a queue and as coordination.
//!
//! Everything in it may vanish at any moment, by a restart or by `FLUSHALL`: each script makes what it needs, and no
//! state of ours says what Redis should contain.

mod client;
mod coordination;
mod outbox;
mod queue;
mod signals;

pub use coordination::RedisCoordination;
pub use queue::RedisQueue;
