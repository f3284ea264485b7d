//! The server as one binary. Parses, opens, composes; everything else is in the library.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Before the runtime: the supervisor has one thread and no need of it.
    let arguments = cli::Arguments::parse();
    if let cli::Command::Supervise = arguments.command {
        return tfe_runner::supervisor::main();
    }
    cli::run(arguments)
}
