//! `tfe-server upgrade`: asks a running server to be replaced.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

use super::{
    Failure,
    handover::{Answer, Request, connect},
    options::{self, ConfigOptions},
};

/// How to upgrade.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  install -m 755 new/tfe-server /usr/local/bin/tfe-server && tfe-server upgrade --data-dir /var/lib/tfe
  tfe-server upgrade --data-dir /var/lib/tfe --binary /opt/tfe/1.1/tfe-server    another one, until the next start
  tfe-server upgrade --data-dir /var/lib/tfe --when-idle                         once all jobs of this node are done

Runs go on meanwhile. If the new server cannot serve, the old one goes on and this says why, with exit code 1.")]
pub(crate) struct Options {
    #[command(flatten)]
    config: ConfigOptions,
    /// The data directory of the running server [default: ./tfe-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The program that takes over [default: the server's own path, as it is now on the disk]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Wait until all jobs of this node are done; no new ones are begun meanwhile
    #[arg(long)]
    when_idle: bool,
}

/// Asks, and says what came of it.
#[expect(clippy::print_stderr, reason = "the binary owns the terminal")]
pub(crate) async fn run(asked: Options) -> Result<ExitCode, Failure> {
    let directory = match asked.data_dir {
        Some(directory) => directory,
        None => asked.config.read().await?.data_directory,
    };
    let none = |error| format!("no server answers in {}: {error}; start one there with tfe-server serve", directory.display());
    let mut stream = connect(&directory).map_err(none)?;
    let binary = asked.binary.map(std::path::absolute).transpose()?;
    if let Some(path) = &binary {
        options::text(path)?;
    }
    writeln!(stream, "{}", serde_json::to_string(&Request { binary, when_idle: asked.when_idle })?)?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?)? {
            Answer::Waiting { jobs } => eprintln!("waiting for {jobs} jobs"),
            Answer::Replaced { process } => {
                eprintln!("process {process} serves now");
                return Ok(ExitCode::SUCCESS);
            }
            Answer::Refused { reason } => return Err(reason.into()),
        }
    }
    Err("the server went away before it answered; see its log, and whether one serves".into())
}
