//! Everything in the memory of one process; enough for one node, since the store holds the truth.

mod coordination;
mod expiring;
mod queue;

pub use coordination::MemoryCoordination;
pub use queue::{MAX_WAITING, MemoryQueue};
