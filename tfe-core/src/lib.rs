//! The rules of a Terraform Enterprise compatible system, pure: no I/O, no async, no clock.
//!
//! Everything here is a value or a function from values to values. Whoever drives the system, the server with its
//! databases or a simulation with virtual time, loads records, asks these rules, and commits the answer.
//!
//! - What there is: [`organization`], [`workspace`], [`variable`], [`configuration`], [`run`], [`job`],
//!   [`state_version`], [`engine_version`], [`user`], [`log`], [`event`], [`blob`]; each a [`mod@record`].
//! - What may happen: [`run`] (the machine and the queue), [`state`] (serials and lineages), [`access`].
//! - What clients see: [`jsonapi`], [`plan`].

pub mod access;
pub mod agent;
pub mod blob;
pub mod cipher;
pub mod configuration;
pub mod duty;
pub mod engine_version;
pub mod error;
pub mod event;
pub mod hcl;
pub mod id;
pub mod installation;
pub mod job;
pub mod jsonapi;
pub mod keyring;
pub mod log;
pub mod name;
pub mod node;
pub mod organization;
pub mod plan;
pub mod record;
pub mod retention;
pub mod rewrap;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod state;
pub mod state_version;
pub mod subnet;
pub mod time;
pub mod user;
pub mod variable;
pub mod version;
pub mod workspace;

/// All kinds, each after those it refers to: the order in which tables are made.
pub static KINDS: &[&record::Kind] = &[
    &installation::INSTALLATIONS,
    &keyring::KEYRINGS,
    &rewrap::REWRAPS,
    &engine_version::ENGINE_VERSIONS,
    &node::NODES,
    &duty::DUTIES,
    &agent::AGENTS,
    &organization::ORGANIZATIONS,
    &user::USERS,
    &organization::PROJECTS,
    &organization::MEMBERSHIPS,
    &user::TOKENS,
    &user::SESSIONS,
    &user::AUTHORIZATION_CODES,
    &agent::AGENT_POOLS,
    &blob::BLOBS,
    &workspace::WORKSPACES,
    &variable::VARIABLES,
    &configuration::CONFIGURATION_VERSIONS,
    &run::RUNS,
    &job::JOBS,
    &log::LOG_CHUNKS,
    &event::RUN_EVENTS,
    &state_version::STATE_VERSIONS,
    &state_version::STATE_OUTPUTS,
];
