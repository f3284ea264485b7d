//! The real `terraform` against the real binary: what a user types, what a user sees, what the server holds.
#![expect(clippy::print_stderr, reason = "a skipped test must say so, and a measured one what it saw")]

mod chaos;
mod cloud;
mod crash;
mod demo;
mod fail_points;
mod failover;
mod fleet;
mod harness;
mod modes;
mod nodes;
mod order;
mod outages;
mod plans;
mod project;
mod remote;
mod secrets;
mod services;
mod snapshots;
mod state;
mod supervised;
mod tool;
mod upgrade;
mod workspaces;
