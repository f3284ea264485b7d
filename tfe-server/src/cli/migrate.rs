//! `tfe-server migrate`: moves an installation between any two kinds of places.

use std::{path::Path, process::ExitCode};

use clap::Args;
use tfe_core::KINDS;
use tfe_server::{
    Backends,
    configuration::{Configuration, Sources},
};
use tfe_storage::migrate::{Digest, Place, digest, migrate};

use super::{Failure, options::ConfigOptions, print, progress::Shown};

/// From where to where.
#[derive(Debug, Args)]
#[command(after_help = "A place is a data directory, a configuration file (.toml), a sealed configuration (s3://…), or env for the\n\
    settings in the environment.\n\nExamples:\n  tfe migrate --from ./tfe-data --to env\n  tfe migrate --from external.toml --to ./tfe-data\n  \
    tfe migrate --digest --from ./tfe-data\n\nStop the servers of both first. It can be stopped at any point and started again;\n\
    the source is only read.")]
pub(crate) struct Options {
    /// Where the installation is
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Where it goes: an empty place, or one where an earlier migration stopped
    #[arg(long, value_name = "PLACE", required_unless_present = "digest")]
    to: Option<String>,
    /// Only print the digest of the source
    #[arg(long, conflicts_with = "to")]
    digest: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does it, and prints the digest that both sides have.
pub(crate) async fn run(options: Options) -> Result<ExitCode, Failure> {
    let (source, _source_lock) = open(&options.from).await?;
    let mut shown = Shown::new();
    let mut show = shown.migration();
    let result = match &options.to {
        None => digest(&source, KINDS, &mut show).await?,
        Some(to) => {
            let (target, _target_lock) = open(to).await?;
            migrate(&source, &target, KINDS, &mut show).await?
        }
    };
    shown.end();
    report(&options, &result)?;
    Ok(ExitCode::SUCCESS)
}

/// A place and what keeps others out of it.
async fn open(place: &str) -> Result<(Place, Option<tfe_server::embedded::DirectoryLock>), Failure> {
    let configuration = configuration(place).await?;
    let is_in_directory = configuration.database.is_none() || configuration.objects.is_none();
    let backends = if is_in_directory { Backends::open(&configuration).await } else { Backends::open_shared(&configuration).await };
    let Backends { store, objects, vault, lock, .. } = backends.map_err(|error| format!("{place}: {error}"))?;
    Ok((Place { store, objects, vault }, lock))
}

async fn configuration(place: &str) -> Result<Configuration, Failure> {
    if place == "env" {
        return ConfigOptions::default().read().await;
    }
    let is_file = Path::new(place).extension().is_some_and(|extension| extension == "toml");
    if is_file || super::sealed::is_remote(place) {
        return ConfigOptions { config: Some(place.to_owned()) }.read().await;
    }
    let directory = place.strip_prefix("file://").unwrap_or(place);
    let flags = vec![("server.mode", "demo".to_owned()), ("server.data_dir", directory.to_owned())];
    // What opens a directory may be a password; where data is, the directory says alone.
    let password = std::env::vars().filter(|(name, _)| name.starts_with("TFE_DIRECTORY_PASSWORD") || name == "TFE_KEY_FILE");
    let environment = password.map(|(name, value)| (name.replace("TFE_DIRECTORY_PASSWORD", "TFE_ENCRYPTION_PASSWORD"), value));
    let sources = Sources { environment: environment.collect(), flags, ..Sources::default() };
    Ok(Configuration::read(&sources, &|path| std::fs::read_to_string(path))?)
}

fn report(options: &Options, digest: &Digest) -> Result<(), Failure> {
    if options.json {
        let document = serde_json::json!({ "digest": digest.to_string(), "records": digest.count(), "kinds": digest.kinds });
        return print(&(serde_json::to_string_pretty(&document)? + "\n"));
    }
    let said = if options.to.is_some() { "moved and verified" } else { "read" };
    print(&format!("{said}: {} records, digest {digest}\n", digest.count()))
}
