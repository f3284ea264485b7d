//! The API over real HTTP: one module per resource.

mod harness;
mod runs;
mod uploads;
