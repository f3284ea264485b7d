//! The supervisor as a binary of its own, for embedders and tests.

use std::process::ExitCode;

fn main() -> ExitCode {
    tfe_runner::supervisor::main(std::env::args_os().skip(1))
}
