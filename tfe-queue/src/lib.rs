//! Wake-up calls between the parts of the system.
//!
//! Truth is in the store; what travels here only says "look at X" and may come late, twice, or not at all. Every
//! listener also looks by itself now and then, so a lost hint costs time and never correctness.
//!
//! * [`Queue`]: hints for workers. Each hint goes to one of them and comes back if that one dies.
//! * [`Signals`]: topics for whoever waits right now, such as a long poll. Each notice goes to all, none is kept.

mod hint;
mod memory;
mod queue;
mod signals;
#[cfg(feature = "testing")]
pub mod testing;

pub use hint::Hint;
pub use memory::{MAX_WAITING, MemoryQueue};
pub use queue::{Delivery, Queue, QueueError, Receipt, VISIBILITY_TIMEOUT};
pub use signals::{MAX_TOPICS, MemorySignals, Signals, Watch};
