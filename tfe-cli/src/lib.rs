//! A typed client for the API of Terraform Enterprise, and the command line tool `tfe` on top of it.
//!
//! The library is what any program needs that starts runs and reads states: [`Client`] for the API, [`pack`] to turn
//! a directory into a configuration, [`follow`] to see a run through, [`credentials`] to find servers and tokens where
//! terraform keeps them. It uses the public API only, so it works with every server that speaks it.

mod access;
mod bootstrap;
mod client;
pub mod command;
pub mod credentials;
mod error;
mod follow;
mod host;
mod log;
mod login;
mod model;
mod pack;
mod plain;
mod private_file;

pub use access::Access;
pub use bootstrap::{BootstrapError, FirstAdmin, bootstrap, resume};
pub use client::{Action, Client, NewRun, NewVariable};
pub use error::ClientError;
pub use follow::{Until, follow};
pub use host::Host;
pub use login::{LoginError, login};
pub use model::{Account, ConfigurationVersion, Output, Phase, Rewrap, Run, RunActions, StateVersion, Variable, Workspace};
pub use pack::{PackError, pack, pack_files};
pub use plain::Plain;
