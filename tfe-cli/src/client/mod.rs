//! The API, one file per resource.

mod configurations;
mod document;
mod runs;
mod states;
mod transport;
mod variables;
mod workspaces;

pub(crate) use self::transport::{builder, causes};
pub use self::{
    runs::{Action, NewRun},
    transport::Client,
    variables::NewVariable,
};
