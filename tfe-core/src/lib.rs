//! The rules of a Terraform Enterprise compatible system, pure: no I/O, no async, no clock.

pub mod cipher;
pub mod id;
pub mod record;
pub mod secret;
pub mod time;
