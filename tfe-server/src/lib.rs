//! The server, as a library.
//!
//! [`Server::builder`] composes it from a store, blobs, a vault, a queue and a runner, each with an embedded default.
//! The API is in `api`, the pages in `ui`; both ask the same context and services, and those ask the rules of
//! `tfe-core`. Only this crate knows HTTP and the wire.

mod api;
mod app;
pub mod backends;
mod brokers;
mod builder;
pub mod collect;
pub mod configuration;
pub mod embedded;
mod error;
pub mod fail_points;
mod health;
mod http;
pub mod metrics;
mod recent;
mod reconcile;
mod server;
mod service;
#[cfg(test)]
mod simulation;
pub mod snapshots;
mod system;
pub mod tls;
#[cfg(test)]
mod trial;
mod ui;
pub mod watchdog;

pub use app::{App, InitialAdmin, Parts, Settings};
pub use backends::{Backends, OpenError, embedded_records};
pub use brokers::Brokers;
pub use builder::{BuildError, ServerBuilder};
pub use error::ApiError;
pub use health::{Check, Condition, Health, Report};
pub use recent::{RECENT, RecentLog};
pub use server::{Server, route_table};
pub use service::nodes::own_jobs;
pub use service::setup::{FirstAdmin, first_admin, initial_admin_token, service_token};
pub use system::{SystemClock, SystemEntropy};
