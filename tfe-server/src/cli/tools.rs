//! `tfe-server tools`: the engines of this machine, and bringing them to one without a network.

use std::{fmt::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::json;
use tfe_runner::{
    Tools,
    job::EngineKind,
    tools::{
        Cache,
        import::{Trust, import},
    },
};
use tfe_server::configuration::Configuration;

use super::{Failure, options::ConfigOptions, print};

/// What to do with engines.
#[derive(Debug, Subcommand)]
pub(crate) enum ToolsCommand {
    /// Bring engines to this machine, from an archive or a directory in a mirror's layout
    Import(Import),
    /// Show which engines runs on this machine can use
    List(List),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tfe-server tools import /media/mirror --keys vendors.asc\n  \
    tfe-server tools import terraform_1.11.4_linux_amd64.zip --sha256 DIGEST\n\n\
    A mirror holds terraform/VERSION/ and tofu/vVERSION/ with the vendor's archives, SHA256SUMS and its signature, and\n\
    the vendor's public key as hashicorp.asc or opentofu.asc. A server that runs finds what was imported by itself.")]
pub(crate) struct Import {
    #[command(flatten)]
    config: ConfigOptions,
    /// An archive with its vendor's name, or a directory
    #[arg(value_name = "FILE|DIR")]
    from: PathBuf,
    /// The data directory of the server or worker [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The archive's digest, from a source that you trust, instead of a signed list
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<String>,
    /// The public keys that sign the lists of checksums [default: that of the configuration, or the vendors' in the directory]
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    config: ConfigOptions,
    /// The data directory of the server or worker [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does it.
pub(crate) async fn run(command: ToolsCommand) -> Result<ExitCode, Failure> {
    match command {
        ToolsCommand::Import(options) => bring(options).await,
        ToolsCommand::List(options) => list(&options).await,
    }
}

async fn bring(options: Import) -> Result<ExitCode, Failure> {
    let configuration = configuration(&options.config, options.data_dir.as_ref()).await?;
    if options.sha256.is_some() && options.from.is_dir() {
        return Err("--sha256 is about one archive; name it, or leave --sha256 out for a directory".into());
    }
    let settings = configuration.runs.tools;
    let cache = Cache::at(settings.cache.ok_or("there is no data directory to keep engines in; name one with --data-dir")?);
    let imported = import(&cache, &options.from, &Trust { sha256: options.sha256, keys: options.keys.or(settings.keys) }).await?;
    let mut text = String::new();
    for release in &imported.releases {
        let _ = writeln!(text, "imported {} {}", release.kind.program(), release.version);
    }
    for (release, reason) in &imported.skipped {
        let _ = writeln!(text, "SKIPPED  {} {}: {reason}", release.kind.program(), release.version);
    }
    print(&text)?;
    Ok(if imported.skipped.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn list(options: &List) -> Result<ExitCode, Failure> {
    let configuration = configuration(&options.config, options.data_dir.as_ref()).await?;
    let tools = Tools::open(&configuration.runs.tools_directories, &configuration.runs.tools);
    let programs: Vec<_> =
        EngineKind::ALL.into_iter().flat_map(|kind| tools.programs(kind).into_iter().map(move |found| (kind, found))).collect();
    if options.json {
        let found = programs
            .iter()
            .map(|(kind, program)| json!({ "engine": kind.program(), "version": program.version.to_string(), "path": program.path }));
        print(&(serde_json::to_string_pretty(&found.collect::<Vec<_>>())? + "\n"))?;
    } else if programs.is_empty() {
        print("there are none; install terraform or tofu on the PATH, or bring one with tfe-server tools import\n")?;
    } else {
        let lines = programs
            .iter()
            .map(|(kind, program)| format!("{:9} {:12} {}\n", kind.program(), program.version.to_string(), program.path.display()));
        print(&lines.collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn configuration(options: &ConfigOptions, data_directory: Option<&PathBuf>) -> Result<Configuration, Failure> {
    let flag = data_directory.map(|path| ("server.data_dir", path.to_string_lossy().into_owned()));
    options.read_with(flag.into_iter().collect()).await
}
