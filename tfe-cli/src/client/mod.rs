//! The API, one file per resource.

mod configurations;
mod document;
mod runs;
mod states;
mod transport;
mod variables;
mod workspaces;

pub use self::{
    runs::{Action, NewRun},
    transport::Client,
    variables::NewVariable,
};
