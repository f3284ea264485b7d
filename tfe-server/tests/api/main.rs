//! The API and the pages over real HTTP: one module per resource.

mod access;
mod collect;
mod engine_versions;
mod harness;
mod health;
mod limits;
mod pools;
mod readiness;
mod restores;
mod runs;
mod states;
mod uploads;
mod variables;
mod workspaces;
