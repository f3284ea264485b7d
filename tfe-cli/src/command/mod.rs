//! The tool's words: what can be typed, and which exit code comes back.
//!
//! Everything here goes through the public API of the library; what a command prints it decides itself, how it is
//! printed `output` decides: aligned and coloured for people, tabs for pipes, JSON when asked.

mod admin;
mod arguments;
mod context;
mod failure;
mod keys;
mod nodes;
mod output;
mod pools;
mod progress;
mod restoration;
mod runs;
mod server;
mod sign_in;
mod states;
mod support;
mod variables;
mod workspaces;

use std::process::ExitCode;

use clap::Parser;

use self::{
    arguments::{Arguments, Command},
    context::Context,
    failure::{Done, Failure},
};

/// Runs the tool with this process's arguments and gives its exit code.
pub async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misunderstood(&error),
    };
    match run(arguments).await {
        Ok(done) => done.into(),
        // Whoever closed the pipe has seen enough; that is no failure.
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure.to_string());
            failure.exit_code()
        }
    }
}

async fn run(Arguments { options, command }: Arguments) -> Result<Done, Failure> {
    let context = Context::new(options);
    match command {
        Command::Login(login) => sign_in::login(&context, login).await,
        Command::Whoami => sign_in::whoami(&context).await,
        Command::Workspace { command } => workspaces::run(&context, command).await,
        Command::Run { command } => runs::run(&context, command).await,
        Command::State { command } => states::run(&context, command).await,
        Command::Admin { command } => admin::run(&context, command).await,
        Command::Keys { command } => keys::run(&context, command).await,
        Command::Node { command } => nodes::run(&context, command).await,
        Command::AgentPool { command } => pools::run(&context, command).await,
        Command::SupportBundle(options) => support::run(&context, options).await,
        Command::Doctor(forwarded) => server::become_server("doctor", forwarded),
        Command::Snapshot(forwarded) => server::become_server("snapshot", forwarded),
        Command::Migrate(forwarded) => server::become_server("migrate", forwarded),
        Command::Variable { command } => variables::run(&context, command).await,
    }
}

/// Help and the version are asked for and go well; everything else is wrong usage.
fn misunderstood(error: &clap::Error) -> ExitCode {
    // A closed pipe takes no help text, and that is all right.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}
