//! The server as one binary. Parses, opens, composes; everything else is in the library.

mod cli;

use std::{ffi::OsStr, process::ExitCode};

use clap::Parser;

fn main() -> ExitCode {
    // Before the runtime: the supervisor of an engine has one thread and no need of more.
    if std::env::args_os().nth(1).as_deref() == Some(OsStr::new("supervise")) {
        return tfe_runner::supervisor::main(std::env::args_os().skip(2));
    }
    cli::run(cli::Arguments::parse())
}
