//! Everything that can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::{
    admin::AdminCommand, keys::KeysCommand, nodes::NodeCommand, pools::PoolCommand, runs::RunCommand, server::Forwarded,
    states::StateCommand, support::SupportOptions, variables::VariableCommand, workspaces::WorkspaceCommand,
};

const AFTER_HELP: &str = "\
Examples:
  tfe login --hostname tfe.example.com
  tfe workspace list -o my-organization
  tfe run start my-workspace -o my-organization --message 'First try'
  tfe run apply run-CZcmD7eagjhyX0vN
  printf %s \"$PASSWORD\" | tfe variable set my-workspace db_password --sensitive
  tfe state download my-workspace -O backup.tfstate

Exit codes:
  0  done
  1  the request failed, or the run failed, was cancelled or discarded
  2  wrong usage
  3  the run waits for a decision: tfe run apply, or tfe run discard
  4  not signed in: tfe login

Servers and tokens are found where terraform keeps them: TF_TOKEN_<host>, ~/.terraformrc (or TF_CLI_CONFIG_FILE) and
~/.terraform.d/credentials.tfrc.json. SSL_CERT_FILE names authorities to trust instead of the system's.";

/// Runs, states and variables of Terraform Enterprise.
#[derive(Debug, Parser)]
#[command(name = "tfe", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) options: Options,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The server; by default the only one that a token is known for.
    #[arg(long, global = true, env = "TFE_HOSTNAME", value_name = "HOST")]
    pub(super) hostname: Option<String>,
    /// The organization that the workspace is in.
    #[arg(long, short, global = true, env = "TFE_ORGANIZATION", value_name = "NAME")]
    pub(super) organization: Option<String>,
    /// Print JSON on the standard output; logs go to the standard error.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Sign in with a browser, and keep the token where terraform finds it too.
    Login(Login),
    /// Show who the token belongs to.
    Whoami,
    /// See workspaces.
    #[command(visible_alias = "workspaces")]
    Workspace {
        #[command(subcommand)]
        command: WorkspaceCommand,
    },
    /// Start runs, watch them, and decide about them.
    #[command(visible_alias = "runs")]
    Run {
        #[command(subcommand)]
        command: RunCommand,
    },
    /// See and download states.
    #[command(visible_alias = "states")]
    State {
        #[command(subcommand)]
        command: StateCommand,
    },
    /// Set a new server up.
    Admin {
        #[command(subcommand)]
        command: AdminCommand,
    },
    /// Rotate the keys that seal secrets (site administrators).
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// See the servers of the installation, and drain one (site administrators).
    #[command(visible_alias = "nodes")]
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// Make groups of workers of an organization's own, and the tokens they join with.
    #[command(visible_alias = "agent-pools")]
    AgentPool {
        #[command(subcommand)]
        command: PoolCommand,
    },
    /// Write an archive for whoever helps, without secrets in it.
    SupportBundle(SupportOptions),
    /// Check a server's configuration end to end (tfe-server doctor).
    #[command(disable_help_flag = true)]
    Doctor(Forwarded),
    /// Move an installation to other backends (tfe-server migrate).
    #[command(disable_help_flag = true)]
    Migrate(Forwarded),
    /// Take, list, verify and remove snapshots (tfe-server snapshot).
    #[command(disable_help_flag = true)]
    Snapshot(Forwarded),
    /// See and set the variables of a workspace.
    #[command(visible_alias = "variables")]
    Variable {
        #[command(subcommand)]
        command: VariableCommand,
    },
}

/// How to sign in.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tfe login --hostname tfe.example.com\n  tfe login --token-stdin < token.txt")]
pub(super) struct Login {
    /// Read a token from the standard input instead of asking in a browser.
    #[arg(long)]
    pub(super) token_stdin: bool,
}

/// Where a downloaded file goes.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The file to write, readable by its owner only; by default, or with -, the standard output.
    #[arg(long = "output", short = 'O', value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_may_come_after_the_command() {
        let arguments = Arguments::try_parse_from(["tfe", "run", "start", "w", "--plan-only", "-o", "acme", "--json"]).unwrap();
        assert_eq!(arguments.options.organization.as_deref(), Some("acme"));
        assert!(arguments.options.json && matches!(arguments.command, Command::Run { command: RunCommand::Start(_) }));
    }

    #[test]
    fn wrong_usage_has_its_exit_code() {
        assert_eq!(Arguments::try_parse_from(["tfe", "nonsense"]).unwrap_err().exit_code(), 2);
    }
}
