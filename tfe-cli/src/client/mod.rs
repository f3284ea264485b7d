//! The API, one file per resource.

mod administration;
mod configurations;
mod document;
mod runs;
mod states;
mod transport;
mod variables;
mod workspaces;

pub(crate) use self::transport::{builder, causes, part};
pub use self::{
    runs::{Action, NewRun},
    transport::Client,
    variables::NewVariable,
};
