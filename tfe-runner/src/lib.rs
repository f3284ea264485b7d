//! Runs terraform and tofu for a control plane.
//!
//! ```text
//! Control::claim ─► prepare ─► supervisor ─► follow ─► report ─► Control::report
//!                  (unpack,     (engine,     (log,      (outcome,
//!                   override)    snapshots)   state)     documents)
//! ```
//!
//! Two promises shape it. *A run cannot get stuck*: whatever dies, somebody finds files that say how far it came, and
//! ends it. *State cannot get lost*: every whole state that terraform writes is kept sealed on a durable disk until the
//! control plane has acknowledged it.

mod admission;
pub mod archive;
mod artifacts;
mod config;
pub mod control;
mod environment;
mod files;
mod follow;
mod handle;
pub mod isolation;
pub mod job;
mod lease;
mod mask;
mod masks;
mod paths;
mod plugins;
mod prepare;
mod processes;
mod recover;
mod report;
mod retry;
mod runner;
pub mod supervisor;
pub mod tools;

pub use config::{Courier, Letter, RunnerConfig, Timeouts};
pub use environment::heap_settings;
pub use isolation::IsolationConfig;
pub use runner::Runner;
pub use supervisor::snapshot::open as open_snapshot;
pub use tools::Tools;
