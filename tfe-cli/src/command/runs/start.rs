//! `tfe run start`: a directory becomes a configuration, the configuration a run.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::watch;
use crate::{
    Client, ConfigurationVersion, NewRun, Until,
    command::{
        context::Context,
        failure::{Done, Failure},
    },
    follow, pack,
};

/// How often and how long apart the server is asked whether it has taken an upload in: a minute in all, which is long
/// for a check of an archive.
const MAX_CHECKS: u32 = 120;
const CHECK_PAUSE: Duration = Duration::from_millis(500);

/// The run to start.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tfe run start my-workspace --plan-only\n  \
    tfe run start my-workspace --directory infrastructure --auto-apply --message 'More machines'\n\n\
    What .terraformignore names is not uploaded: names, paths, *.ending and directory/, one per line.")]
pub(in crate::command) struct Start {
    /// The workspace's name.
    workspace: String,
    /// The directory with the configuration.
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// End after the plan, which nobody can apply.
    #[arg(long, conflicts_with = "auto_apply")]
    plan_only: bool,
    /// Destroy everything that the workspace manages.
    #[arg(long)]
    destroy: bool,
    /// Apply without asking.
    #[arg(long)]
    auto_apply: bool,
    /// Why, for those who look at it later.
    #[arg(long, default_value = "Started with tfe")]
    message: String,
    /// Do not wait for the run.
    #[arg(long)]
    no_watch: bool,
}

/// Does it.
pub(super) async fn run(context: &Context, arguments: Start) -> Result<Done, Failure> {
    let (client, workspace) = context.workspace(&arguments.workspace).await?;
    let directory = arguments.directory;
    let packing = tokio::task::spawn_blocking(move || pack(&directory)).await;
    let archive = packing.map_err(|error| Failure::Other(format!("packing broke off: {error}; try again")))??;
    let configuration = client.create_configuration_version(&workspace.id, arguments.plan_only).await?;
    client.upload(&configuration, archive).await?;
    wait_until_taken_in(&client, &configuration).await?;
    let new = NewRun {
        workspace_id: workspace.id,
        configuration_version_id: Some(configuration.id),
        message: arguments.message,
        plan_only: arguments.plan_only,
        auto_apply: arguments.auto_apply,
        is_destroy: arguments.destroy,
        ..NewRun::default()
    };
    let run = client.create_run(&new).await?;
    if arguments.no_watch {
        context
            .output
            .print(&run, || crate::command::output::Table::list(&["id", "status", "created", "message"], vec![super::row(&run)]))?;
        return Ok(Done::Well);
    }
    watch(context, &client, &run.id, Until::NeedsDecision, follow::Start::Plan).await
}

/// A run with a configuration that is not there yet would be refused or fail.
async fn wait_until_taken_in(client: &Client, configuration: &ConfigurationVersion) -> Result<(), Failure> {
    for _ in 0..MAX_CHECKS {
        let ConfigurationVersion { status, error_message, .. } = client.configuration_version(&configuration.id).await?;
        match status.as_str() {
            "uploaded" => return Ok(()),
            "errored" => {
                let reason = error_message.unwrap_or_else(|| "no reason given".to_owned());
                return Err(Failure::Other(format!("the server cannot use the configuration: {reason}; correct it and start again")));
            }
            _ => tokio::time::sleep(CHECK_PAUSE).await,
        }
    }
    Err(Failure::Other("the server has not taken the configuration in; try again later".to_owned()))
}
