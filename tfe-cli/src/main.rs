//! The command line tool `tfe`; everything it does is in the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tfe_cli::command::main().await
}
