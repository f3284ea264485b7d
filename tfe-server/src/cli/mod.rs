//! The commands of the binary: words, exit codes, and what is printed.

mod access;
mod demo;
mod options;
mod sample;
mod serve;

use std::{io::IsTerminal, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// A Terraform Enterprise compatible server in one binary.
#[derive(Debug, Parser)]
#[command(name = "tfe-server", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything embedded, apply a sample configuration, and serve until Ctrl-C.
    Demo(demo::Options),
    /// Serve until Ctrl-C.
    Serve(options::ServeOptions),
}

const EXAMPLES: &str = "\
Examples:
  tfe-server demo                                     see it work, then use it from your own directory
  tfe-server demo --once --data-dir /tmp/trial        apply the sample and exit; 0 only if it was applied
  tfe-server serve --data-dir /var/lib/tfe --listen 127.0.0.1:8443 --tls

Environment:
  TFE_LOG                  what to log, as in info,tfe_server=debug (default: warn)
  TFE_ENCRYPTION_PASSWORD  opens the keyring instead of the key file

Exit codes: 0 done, 1 failed, 2 wrong usage";

/// Runs a command to its end.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Demo(options) => demo::run(options).await,
            Command::Serve(options) => serve::run(options).await,
        }
    });
    result.unwrap_or_else(|error| failed(&error.to_string()))
}

/// An error in words for the person at the terminal.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

#[expect(clippy::print_stderr, reason = "the binary owns the terminal")]
fn failed(text: &str) -> ExitCode {
    eprintln!("error: {text}");
    ExitCode::FAILURE
}

fn log() {
    let filter = EnvFilter::try_from_env("TFE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let ansi = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    tracing_subscriber::registry().with(filter).with(layer).init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
