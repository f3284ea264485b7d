//! Strangers' programs, started as a run's steps are: what they must not reach, and how they end.
//!
//! Each attack is also made without a sandbox where that shows that it could have worked.

mod attacks;
mod bench;
#[path = "../runner/control.rs"]
mod control;
mod engine;
mod life;
mod limits;
mod network;
mod plugins;
mod unprivileged;
