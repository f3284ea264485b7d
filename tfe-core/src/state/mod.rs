//! State: what a state file says, and which one may follow which.
//!
//! The engine owns the file. We read the little that lists and checks need and never rewrite more than the serial.

mod file;
mod upload;

pub use self::{
    file::{MAX_OUTPUTS, Output, Resource, StateFile, rolled_back},
    upload::{Accepted, Current, StateConflict, Upload, check_content, check_upload, md5_hex},
};
