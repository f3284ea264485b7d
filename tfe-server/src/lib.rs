//! The server, as a library.
//!
//! [`Server::builder`] composes it from a store, blobs, a vault, a queue and a runner, each with an embedded default.
//! The API is in `api`, the pages in `ui`; both ask the same context and services, and those ask the rules of
//! `tfe-core`. Only this crate knows HTTP and the wire.

mod api;
mod app;
mod error;
mod http;
mod service;
mod system;
mod ui;

pub use app::{App, Settings};
