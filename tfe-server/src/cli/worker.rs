//! `tfe-server worker`: takes jobs of an installation, on any machine that reaches it.

use std::{io::Read, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use tfe_core::{id::Id, secret::Secret};
use tfe_runner::{Courier, IsolationConfig, Letter, Runner, RunnerConfig, Timeouts, control::HttpControl, tools::ToolSettings};
use tfe_server::{configuration::Configuration, embedded::DirectoryLock};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, compose, options, options::ConfigOptions};

/// How long a worker may be gone until its applies are interrupted and brought home: a restart takes less, and a person who
/// waits for the run more.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where a worker keeps its name and the marks of its jobs, unless told otherwise.
const DATA_DIRECTORY: &str = "tfe-worker";

/// How to take jobs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  TFE_WORKER_TOKEN=… tfe-server worker --server https://tfe.example.com
  TFE_AGENT_TOKEN=… tfe-server worker --server https://tfe.example.com --data-dir /var/lib/tfe-agent --concurrency 2

The first SIGTERM or Ctrl-C lets running jobs finish, the second ends the worker at once; its applies are then brought home.")]
pub(crate) struct Options {
    #[command(flatten)]
    config: ConfigOptions,
    /// A server of the installation; more of them are tried in turn
    #[arg(long = "server", value_name = "URL")]
    servers: Vec<String>,
    /// Where the worker keeps its name and the marks of its jobs [default: ./tfe-worker]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Its name, the same after a restart [default: made at the first start]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many jobs at once [default: 4]
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// Where runs work, in clear, until they end [default: a private directory in memory, or the temporary one]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// More places with terraform or tofu, besides PATH: DIR/terraform, or DIR/terraform/VERSION/terraform
    #[arg(long = "tools-dir", value_name = "DIR")]
    tools_dirs: Vec<PathBuf>,
    /// A terraform CLI configuration for runs, such as one with a provider mirror
    #[arg(long, value_name = "FILE")]
    run_cli_config: Option<PathBuf>,
    /// An authority to trust besides the system's, PEM
    #[arg(long, value_name = "FILE")]
    ca_cert: Option<PathBuf>,
}

/// Takes jobs until the process is asked to end and they are done.
#[expect(clippy::print_stderr, reason = "the binary owns the terminal")]
pub(crate) async fn run(options: Options) -> Result<ExitCode, Failure> {
    let configuration = options.config.read_with(options.flags()?).await?;
    let _lock = DirectoryLock::acquire(&configuration.data_directory)?;
    let letter = letter(&configuration)?;
    let (servers, name) = (letter.servers.join(", "), letter.name.clone());
    let control = control(&letter)?;
    let program = std::env::current_exe()?;
    let courier = Courier { command: vec![program.into(), "courier".into()], letter: Some(letter), patience: PATIENCE };
    let config = RunnerConfig { courier: Some(courier), ..runner(&configuration, name.clone())? };
    eprintln!("asking {servers} for work as {name}, {} at once", config.concurrency);
    let (drain, end) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(signals(drain.clone(), end.clone()));
    Runner::new(config, Arc::new(control)).run(drain, end).await;
    Ok(ExitCode::SUCCESS)
}

/// Brings home the job that the letter on standard input is about.
pub(crate) async fn courier() -> Result<ExitCode, Failure> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let letter: Letter = serde_json::from_str(&text).map_err(|_| "the letter cannot be read; a supervisor writes it, not a person")?;
    let control = control(&letter)?;
    let config = RunnerConfig {
        name: letter.name,
        work_root: letter.work_root,
        spool_root: letter.spool_root,
        supervisor: vec![std::env::current_exe()?.into(), "supervise".into()],
        tool_paths: Vec::new(),
        tools: ToolSettings::default(),
        cli_config: None,
        plugins: None,
        concurrency: 1,
        // Nothing is started here.
        isolation: IsolationConfig::none(),
        courier: None,
        timeouts: Timeouts::default(),
    };
    Runner::new(config, Arc::new(control)).bring_home(&Id::from(letter.job.as_str())).await;
    Ok(ExitCode::SUCCESS)
}

fn letter(configuration: &Configuration) -> Result<Letter, Failure> {
    let workers = &configuration.workers;
    if workers.servers.is_empty() {
        return Err("no server is named; name one with --server https://… or TFE_WORKER_SERVERS".into());
    }
    let token = workers.agent_token.as_ref().or(workers.token.as_ref());
    let token: Secret = token
        .cloned()
        .ok_or("there is no token; set TFE_WORKER_TOKEN as on the servers, or TFE_AGENT_TOKEN to a token of an agent pool")?;
    let authorities = workers
        .authority
        .iter()
        .map(|path| std::fs::read_to_string(path).map_err(|error| format!("the authority {} cannot be read: {error}", path.display())));
    let name = match &configuration.node {
        Some(name) => name.clone(),
        None => compose::kept_name(&configuration.data_directory, "worker")?,
    };
    let runner = runner(configuration, name)?;
    Ok(Letter {
        name: runner.name,
        work_root: std::path::absolute(runner.work_root)?,
        spool_root: std::path::absolute(runner.spool_root)?,
        servers: workers.servers.clone(),
        token,
        authorities: authorities.collect::<Result<_, _>>()?,
        job: String::new(),
    })
}

/// How this worker works. Nothing of the installation listens on this machine, so of its own addresses runs may reach none but those
/// of the servers that it was told.
fn runner(configuration: &Configuration, name: String) -> Result<RunnerConfig, Failure> {
    let servers = configuration.workers.servers.iter().filter_map(|url| compose::address_of(url));
    compose::runner(configuration, name, servers)
}

fn control(letter: &Letter) -> Result<HttpControl, Failure> {
    let authorities: Vec<Vec<u8>> = letter.authorities.iter().map(|text| text.as_bytes().to_vec()).collect();
    Ok(HttpControl::new(&letter.servers, letter.token.clone(), &authorities)?)
}

/// The first request to end drains, the second ends.
#[expect(clippy::print_stderr, reason = "the binary owns the terminal")]
async fn signals(drain: CancellationToken, end: CancellationToken) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else { return };
    asked(&mut terminate, &mut interrupt).await;
    eprintln!("taking no new jobs; running ones finish, a second signal ends the worker at once");
    drain.cancel();
    asked(&mut terminate, &mut interrupt).await;
    end.cancel();
}

async fn asked(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

impl Options {
    fn flags(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let tools = self.tools_dirs.iter().map(|path| options::text(path)).collect::<Result<Vec<_>, _>>()?;
        let data_directory = self.data_dir.clone().unwrap_or_else(|| PathBuf::from(DATA_DIRECTORY));
        // Where the installation's data lives is no matter of a worker.
        let mut flags = vec![("server.mode", "demo".to_owned()), ("server.data_dir", options::text(&data_directory)?)];
        let paths = [("runs.work_dir", &self.work_dir), ("runs.cli_config", &self.run_cli_config), ("worker.ca_cert_file", &self.ca_cert)];
        for (key, path) in paths {
            if let Some(path) = path {
                flags.push((key, options::text(path)?));
            }
        }
        flags.extend(self.name.clone().map(|name| ("server.node", name)));
        flags.extend(self.concurrency.map(|number| ("capacity.concurrency", number.to_string())));
        flags.extend((!self.servers.is_empty()).then(|| ("worker.servers", self.servers.join(","))));
        flags.extend((!tools.is_empty()).then(|| ("runs.tools_dirs", tools.join(":"))));
        Ok(flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(flags: Vec<(&'static str, String)>) -> Vec<String> {
        let sources = tfe_server::configuration::Sources { flags, ..tfe_server::configuration::Sources::default() };
        let configuration = Configuration::read(&sources, &|path| std::fs::read_to_string(path)).unwrap();
        runner(&configuration, "worker".to_owned()).unwrap().isolation.network.allowed
    }

    #[test]
    fn runs_on_a_worker_reach_nothing_of_its_machine_but_the_servers_that_it_was_told() {
        assert_eq!(allowed(Vec::new()), Vec::<String>::new());
        let servers = "https://tfe.example.com,http://10.0.0.7:8080".to_owned();
        assert_eq!(allowed(vec![("worker.servers", servers)]), ["tfe.example.com:443", "10.0.0.7:8080"]);
    }
}
