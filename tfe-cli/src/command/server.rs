//! `tfe doctor` and `tfe migrate`: what needs the backends themselves is done by `tfe-server`, which is found beside this
//! program or on the PATH. So this tool stays a client, and there is one program that opens databases.

use std::{ffi::OsString, os::unix::process::CommandExt, path::PathBuf, process::Command};

use clap::Args;

use super::failure::{Done, Failure};

const PROGRAM: &str = "tfe-server";

/// Arguments for the other program, as they are.
#[derive(Debug, Args)]
pub(super) struct Forwarded {
    /// See tfe-server <COMMAND> --help
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Becomes the other program; comes back only if that fails.
pub(super) fn become_server(command: &str, forwarded: Forwarded) -> Result<Done, Failure> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(PROGRAM))).filter(|path| path.is_file());
    let program = beside.unwrap_or_else(|| PathBuf::from(PROGRAM));
    let error = Command::new(&program).arg(command).args(forwarded.arguments).exec();
    Err(Failure::Other(format!("{} cannot be started: {error}; install tfe-server beside this program, or on the PATH", program.display())))
}
