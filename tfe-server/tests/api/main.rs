//! The API and the pages over real HTTP: one module per resource.

mod access;
mod harness;
mod runs;
mod states;
mod uploads;
mod variables;
mod workspaces;
