//! `tfe-server config`: what is set, what can be set, and sealing it.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use tfe_server::configuration::default_file;

use super::{Failure, options::ConfigOptions, print, sealed};

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting with its value and where it came from; secrets are hidden
    Show(Show),
    /// Print a configuration file with all settings as comments
    Default,
    /// Seal a configuration file, for --config
    Seal(SealOptions),
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    config: ConfigOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  TFE_CONFIG_PASSWORD=… tfe-server config seal tfe.toml --to s3://bucket/tfe-setup-data\n  \
    tfe-server config seal tfe.toml --with-vault --to tfe.sealed")]
pub(crate) struct SealOptions {
    /// The configuration file
    file: PathBuf,
    /// Where the sealed file goes: a path, or s3://…, az://…, gs://…
    #[arg(long, value_name = "FILE|URL")]
    to: String,
    /// Seal with the key of the vault that the environment names, instead of a password
    #[arg(long)]
    with_vault: bool,
}

/// Does it.
pub(crate) async fn run(command: ConfigCommand) -> Result<ExitCode, Failure> {
    match command {
        ConfigCommand::Show(options) => show(&options).await?,
        ConfigCommand::Default => print(&default_file())?,
        ConfigCommand::Seal(options) => seal(&options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(options: &Show) -> Result<(), Failure> {
    let configuration = options.config.read().await?;
    if options.json {
        return print(&(serde_json::to_string_pretty(configuration.shown())? + "\n"));
    }
    let width = configuration.shown().iter().map(|shown| shown.key.len()).max().unwrap_or_default();
    let lines = configuration.shown().iter().map(|shown| {
        let origin = if shown.source == "default" { String::new() } else { format!("  # {}", shown.source) };
        format!("{:width$} = {:?}{origin}\n", shown.key, shown.value)
    });
    print(&lines.collect::<String>())?;
    for warning in &configuration.warnings {
        print(&format!("# warning: {warning}\n"))?;
    }
    Ok(())
}

async fn seal(options: &SealOptions) -> Result<(), Failure> {
    let file = options.file.display();
    let text = std::fs::read_to_string(&options.file).map_err(|error| format!("the configuration {file} cannot be read: {error}"))?;
    let with = if options.with_vault { sealed::With::Vault } else { sealed::With::Password };
    let sealed = sealed::seal(&text, with).await?;
    if sealed::is_remote(&options.to) {
        sealed::put(&options.to, sealed).await?;
    } else {
        std::fs::write(&options.to, sealed).map_err(|error| format!("{} cannot be written: {error}", options.to))?;
    }
    print(&format!("sealed; use it with --config {}\n", options.to))
}
