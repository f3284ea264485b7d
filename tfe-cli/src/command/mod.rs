//! The command line tool: words, output and exit codes. What it does is in the rest of the library.

mod output;
mod progress;
mod run;
mod session;
mod state;
mod variable;
mod workspace;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::output::Output;
use crate::{
    client::Client,
    credentials::{self, CredentialsError},
    error::ClientError,
    login::LoginError,
    model::Workspace,
    pack::PackError,
};

/// The run or request failed.
const FAILED: u8 = 1;
/// The run waits for somebody to confirm it.
const NEEDS_DECISION: u8 = 3;
/// The token is missing or not accepted.
const NOT_SIGNED_IN: u8 = 4;

/// Work with workspaces, runs and states of a Terraform Enterprise server.
#[derive(Debug, Parser)]
#[command(name = "tfe", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// The server; default: the only one that there is a token for
    #[arg(long, global = true, env = "TFE_HOSTNAME", value_name = "NAME")]
    hostname: Option<String>,
    /// The organization
    #[arg(long, short, global = true, env = "TFE_ORGANIZATION", value_name = "NAME")]
    organization: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sign in with a browser, or store a token
    Login(session::Login),
    /// Show who the token belongs to
    Whoami,
    /// List and show workspaces
    #[command(subcommand)]
    Workspace(workspace::Command),
    /// Start, follow and decide about runs
    #[command(subcommand)]
    Run(run::Command),
    /// List, show and download states
    #[command(subcommand)]
    State(state::Command),
    /// Set, list and delete variables
    #[command(subcommand)]
    Variable(variable::Command),
}

const EXAMPLES: &str = "\
Examples:
  tfe login --hostname tfe.example.com
  tfe workspace list --organization acme
  tfe run start network --directory ./network     upload, plan, and wait for a decision
  tfe run apply run-4Xb1...                       confirm it and follow the apply
  printf %s \"$PASSWORD\" | tfe variable set network password --sensitive
  tfe state download network --file network.tfstate

Servers and tokens are found where terraform keeps them: its CLI configuration (TF_CLI_CONFIG_FILE or ~/.terraformrc),
~/.terraform.d/credentials.tfrc.json, and TF_TOKEN_<host>.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the run waits for a decision, 4 not signed in";

/// Why a command did not do it, in words for the person at the terminal.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Other(String),
}

/// How a command that did its work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    RunFailed,
    NeedsDecision,
}

/// What commands work with.
struct Session {
    client: Client,
    organization: Option<String>,
    output: Output,
}

/// Runs the tool with the arguments of the process.
pub async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(arguments).await {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::RunFailed) => ExitCode::from(FAILED),
        Ok(End::NeedsDecision) => ExitCode::from(NEEDS_DECISION),
        Err(failure) => {
            output::complain(&failure.to_string());
            ExitCode::from(failure.code())
        }
    }
}

async fn dispatch(arguments: Arguments) -> Result<End, Failure> {
    let Arguments { global, command } = arguments;
    match command {
        Command::Login(login) => session::login(login, global.hostname).await,
        Command::Whoami => session::whoami(&Session::open(global).await?).await,
        Command::Workspace(command) => workspace::run(command, &Session::open(global).await?).await,
        Command::Run(command) => run::run(command, &Session::open(global).await?).await,
        Command::State(command) => state::run(command, &Session::open(global).await?).await,
        Command::Variable(command) => variable::run(command, &Session::open(global).await?).await,
    }
}

impl Session {
    async fn open(global: Global) -> Result<Self, Failure> {
        let hostname = match global.hostname {
            Some(name) => name,
            None => credentials::only_hostname()?,
        };
        let client = Client::new(&credentials::resolve(&hostname).await?)?;
        Ok(Self { client, organization: global.organization, output: Output::new(global.json) })
    }

    fn organization(&self) -> Result<&str, Failure> {
        let missing = || Failure::Other("the organization is missing; give --organization or set TFE_ORGANIZATION".to_owned());
        self.organization.as_deref().ok_or_else(missing)
    }

    async fn workspace(&self, name: &str) -> Result<Workspace, Failure> {
        Ok(self.client.workspace(self.organization()?, name).await?)
    }
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Unauthorized { .. }) | Self::Credentials(CredentialsError::NoToken { .. }) => NOT_SIGNED_IN,
            _ => FAILED,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Arguments::command().debug_assert();
    }
}
