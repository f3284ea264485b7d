//! `tfe-server doctor`: a configuration, checked end to end before anybody depends on it.

use std::{fmt::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use serde::Serialize;
use tfe_runner::{Tools, job::EngineKind};
use tfe_server::{Backends, backends::transit_settings, configuration::Configuration};
use tfe_storage::{Finding, TransitVault, blobs::probe};

use super::{Failure, options::ConfigOptions, print};

/// Space that a data directory should have at least.
const MIN_FREE_BYTES: u64 = 1 << 30;
/// How long a read of one record may take.
const SLOW: Duration = Duration::from_secs(1);

/// What to check.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 all is good, 1 something is to be done, 2 wrong usage")]
pub(crate) struct Options {
    #[command(flatten)]
    config: ConfigOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A finding and the part that it is about.
#[derive(Debug, Serialize)]
struct Line {
    part: &'static str,
    #[serde(flatten)]
    finding: Finding,
}

/// Checks everything, and prints a table of what is good and what to do about the rest.
pub(crate) async fn run(options: Options) -> Result<ExitCode, Failure> {
    let lines = match options.config.read().await {
        Err(error) => vec![line("configuration", Finding::of("be read", Err::<(), _>(error), "correct what is listed"))],
        Ok(configuration) => {
            let scratch = Scratch::for_missing(&configuration);
            checks(scratch.as_ref().map_or(&configuration, |scratch| &scratch.configuration)).await
        }
    };
    let is_good = lines.iter().all(|line| line.finding.is_good());
    if options.json {
        print(&(serde_json::to_string_pretty(&lines)? + "\n"))?;
    } else {
        print(&table(&lines))?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Stands for a data directory that the first start will make: checking must leave nothing behind.
struct Scratch {
    configuration: Configuration,
    directory: PathBuf,
}

impl Scratch {
    fn for_missing(configuration: &Configuration) -> Option<Self> {
        let is_needed = configuration.database.is_none() || configuration.objects.is_none() || configuration.vault.is_none();
        let wanted = std::path::absolute(&configuration.data_directory).ok().filter(|wanted| is_needed && !wanted.exists())?;
        // On the same disk as the real one will be.
        let parent = wanted.ancestors().find(|place| place.is_dir())?;
        let directory = parent.join(format!(".tfe-doctor-{}", std::process::id()));
        let (data_directory, key_file) = (directory.join("data"), directory.join("key"));
        Some(Self { configuration: configuration.clone().in_directory(data_directory, key_file), directory })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is named like what it is.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn checks(configuration: &Configuration) -> Vec<Line> {
    let mut lines = vec![line("configuration", good("be read"))];
    lines.extend(
        configuration.warnings.iter().map(|warning| line("configuration", Finding::of("do without", Err::<(), _>(warning), "remove it"))),
    );
    lines.push(line("disk", disk(configuration)));
    lines.push(engines(configuration));
    if let Some(vault) = &configuration.vault {
        match TransitVault::connect(transit_settings(vault)).await {
            Ok(vault) => lines.extend(vault.diagnose().await.into_iter().map(|finding| line("vault", finding))),
            Err(error) => {
                let remedy = "check the address, the login and the policy; README has the least policy";
                lines.push(line("vault", Finding::of("log in and find its key", Err::<(), _>(error), remedy)));
            }
        }
    }
    match Backends::open_shared(configuration).await {
        Err(error) => lines.push(line("backends", Finding::of("be opened", Err::<(), _>(error), "correct what the reason names"))),
        Ok(backends) => {
            lines.extend(database(&backends).await);
            lines.extend(probe(&*backends.objects).await.into_iter().map(|finding| line("object store", finding)));
            let remedy = "give the password or key that the keyring was made with";
            lines.push(line("vault", Finding::of("seal and open a value", backends.vault.check().await, remedy)));
        }
    }
    lines
}

fn good(what: &str) -> Finding {
    Finding { what: what.to_owned(), problem: None }
}

fn line(part: &'static str, finding: Finding) -> Line {
    Line { part, finding }
}

fn disk(configuration: &Configuration) -> Finding {
    let directory = &configuration.data_directory;
    let place = directory.ancestors().find(|place| place.is_dir()).unwrap_or(directory);
    let free = nix::sys::statvfs::statvfs(place).map(|found| found.blocks_available().saturating_mul(found.fragment_size()));
    let enough = match free {
        Err(error) => Err(error.to_string()),
        Ok(free) if free < MIN_FREE_BYTES => Err(format!("{} has {} MiB free", place.display(), free >> 20)),
        Ok(_) => Ok(()),
    };
    Finding::of("hold what this node needs", enough, format!("give it {} MiB at least", MIN_FREE_BYTES >> 20))
}

fn engines(configuration: &Configuration) -> Line {
    let tools = Tools::open(&configuration.runs.tools_directories, &configuration.runs.tools);
    let names = |kind: EngineKind| tools.names(kind).into_iter().map(move |version| format!("{} {version}", kind.program()));
    let found: Vec<_> = EngineKind::ALL.into_iter().flat_map(names).collect();
    let any = if found.is_empty() { Err("neither terraform nor tofu was found".to_owned()) } else { Ok(()) };
    let what = if found.is_empty() { "run terraform or tofu".to_owned() } else { format!("run {}", found.join(", ")) };
    line("engines", Finding::of(what, any, "install one of them on the PATH, or name a directory with TFE_TOOLS_DIRS"))
}

async fn database(backends: &Backends) -> Vec<Line> {
    use tfe_core::installation::{INSTALLATIONS, Installation};
    let began = std::time::Instant::now();
    let read = backends.store.get(&INSTALLATIONS, Installation::only_id().as_str()).await;
    let slow = began.elapsed() > SLOW;
    let answered = if slow { Err(format!("a read took {} ms", began.elapsed().as_millis())) } else { Ok(()) };
    vec![
        line("database", Finding::of("bring its schema up to date and read", read, "check the database's own log")),
        line("database", Finding::of("answer soon", answered, "put it nearer, or give it more")),
    ]
}

fn table(lines: &[Line]) -> String {
    let mut text = String::new();
    for Line { part, finding } in lines {
        match &finding.problem {
            None => {
                let _ = writeln!(text, "ok    {part:13} can {}", finding.what);
            }
            Some(problem) => {
                let _ = writeln!(text, "WRONG {part:13} cannot {}: {}", finding.what, problem.reason);
                let _ = writeln!(text, "                    -> {}", problem.remedy);
            }
        }
    }
    let wrong = lines.iter().filter(|line| !line.finding.is_good()).count();
    text + &if wrong == 0 { "all is good\n".to_owned() } else { format!("{wrong} to be done\n") }
}
