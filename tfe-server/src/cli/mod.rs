//! The commands of the binary: words, exit codes, and what is printed.

mod compose;
mod config;
mod demo;
mod doctor;
mod handover;
mod kept;
mod keys;
mod migrate;
mod notify;
mod options;
mod progress;
mod sample;
mod sealed;
mod serve;
mod snapshot;
mod sockets;
mod tools;
mod upgrade;
mod worker;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tfe_server::RECENT;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

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
    /// Replace a running server by another binary, without a gap.
    Upgrade(upgrade::Options),
    /// Take jobs of an installation on this machine, until Ctrl-C.
    Worker(worker::Options),
    /// Bring home a job whose worker has died; started by its supervisor.
    #[command(hide = true)]
    Courier,
    /// Show, explain or seal the configuration.
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Check a configuration end to end.
    Doctor(doctor::Options),
    /// Move an installation to other backends.
    Migrate(migrate::Options),
    /// Take, list, verify and remove snapshots.
    Snapshot {
        #[command(subcommand)]
        command: snapshot::SnapshotCommand,
    },
    /// Open a state that a runner kept, since the installation did not take it.
    OpenState(kept::Options),
    /// Restore a snapshot to where there is no installation.
    Restore(snapshot::RestoreOptions),
    /// See and import terraform and tofu.
    Tools {
        #[command(subcommand)]
        command: tools::ToolsCommand,
    },
    /// Change what opens the keyring.
    Keys {
        #[command(subcommand)]
        command: keys::KeysCommand,
    },
}

const EXAMPLES: &str = "\
Examples:
  tfe-server demo                                     see it work, then use it from your own directory
  tfe-server demo --once --data-dir /tmp/trial        apply the sample and exit; 0 only if it was applied
  tfe-server serve --data-dir /var/lib/tfe --listen 127.0.0.1:8443 --tls
  tfe-server upgrade --data-dir /var/lib/tfe          the new binary takes over, without a gap
  tfe-server worker --server https://tfe.example.com  take jobs; the token in TFE_WORKER_TOKEN or TFE_AGENT_TOKEN
  tfe-server config default > tfe.toml                all settings, with their names in the environment
  tfe-server restore --from s3://bucket/tfe --data-dir /var/lib/tfe
  tfe-server doctor --config tfe.toml                 what is good, and what to do about the rest

Environment:
  Every setting has a name in the environment, Terraform Enterprise's own where it has one: tfe-server config default

Exit codes: 0 done, 1 failed, 2 wrong usage";

/// Runs a command to its end.
pub(crate) fn run(arguments: Arguments) -> ExitCode {
    log();
    let activated = match sockets::Activated::take() {
        Ok(activated) => activated,
        Err(error) => return failed(&error.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let result = runtime.block_on(async {
        match arguments.command {
            Command::Demo(options) => demo::run(options).await,
            Command::Serve(options) => serve::run(options, activated).await,
            Command::Upgrade(options) => upgrade::run(options).await,
            Command::Worker(options) => worker::run(options).await,
            Command::Courier => worker::courier().await,
            Command::Config { command } => config::run(command).await,
            Command::Doctor(options) => doctor::run(options).await,
            Command::Migrate(options) => migrate::run(options).await,
            Command::Snapshot { command } => snapshot::run(command).await,
            Command::OpenState(options) => kept::run(options).await,
            Command::Restore(options) => snapshot::restore(options).await,
            Command::Tools { command } => tools::run(command).await,
            Command::Keys { command } => keys::run(command).await,
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

/// Prints a result. A reader that went away has seen enough.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// What the client of the vault would log of its requests and answers belongs into no log, and what the database notes
/// when something is there already is no news.
const SILENT: [&str; 3] = ["vaultrs=off", "rustify=off", "sqlx::postgres::notice=off"];

fn log() {
    let filter = EnvFilter::try_from_env("TFE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let filter = SILENT.iter().filter_map(|part| part.parse().ok()).fold(filter, EnvFilter::add_directive);
    let ansi = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_filter(filter);
    // For whoever helps, whatever is logged else.
    let kept = SILENT.iter().filter_map(|part| part.parse().ok()).fold(EnvFilter::new("warn,tfe=info"), EnvFilter::add_directive);
    let recent = tracing_subscriber::fmt::layer().with_writer(|| RECENT.entry()).with_ansi(false).with_filter(kept);
    tracing_subscriber::registry().with(layer).with(recent).init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
