//! `tfe state`.

use std::path::Path;

use clap::Subcommand;

use super::{
    arguments::Target,
    context::Context,
    failure::{Done, Failure},
    output::{self, Cell, Table, status, text},
};
use crate::{StateVersion, private_file};

/// What can be asked about states.
#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// List the newest state versions of a workspace.
    List {
        /// The workspace's name.
        workspace: String,
        /// Most versions to list.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show the current state version of a workspace and its outputs.
    Show {
        /// The workspace's name.
        workspace: String,
    },
    /// Download the current state of a workspace. It may have secrets in it.
    Download {
        /// The workspace's name.
        workspace: String,
        #[command(flatten)]
        target: Target,
    },
}

/// Does it.
pub(super) async fn run(context: &Context, command: StateCommand) -> Result<Done, Failure> {
    match command {
        StateCommand::List { workspace, limit } => list(context, &workspace, limit).await,
        StateCommand::Show { workspace } => show(context, &workspace).await,
        StateCommand::Download { workspace, target } => download(context, &workspace, target.file.as_deref()).await,
    }
}

async fn list(context: &Context, workspace: &str, limit: usize) -> Result<Done, Failure> {
    let organization = context.organization()?;
    let versions = context.client().await?.state_versions(organization, workspace, limit).await?;
    context.output.print(&versions, || Table::list(&["id", "serial", "created", "status", "run"], versions.iter().map(row).collect()))?;
    Ok(Done::Well)
}

fn row(version: &StateVersion) -> Vec<Cell> {
    let StateVersion { id, serial, created_at, status: standing, run_id, .. } = version;
    vec![text(id), text(serial), text(created_at), status(standing), text(run_id.as_deref().unwrap_or_default())]
}

async fn show(context: &Context, workspace: &str) -> Result<Done, Failure> {
    let (client, workspace) = context.workspace(workspace).await?;
    let version = client.current_state_version(&workspace.id).await?;
    if context.output.is_json {
        context.output.print(&version, Table::default)?;
        return Ok(Done::Well);
    }
    let outputs = client.outputs(&workspace.id).await?;
    context.output.print(&version, || details(&version))?;
    if !outputs.is_empty() {
        let value = |output: &crate::Output| if output.sensitive { "(sensitive)".to_owned() } else { output.value.to_string() };
        let rows = outputs.iter().map(|output| vec![text(&output.name), text(value(output))]).collect();
        context.output.print(&outputs, || Table::list(&["output", "value"], rows))?;
    }
    Ok(Done::Well)
}

fn details(version: &StateVersion) -> Table {
    Table::details(vec![
        ("id", text(&version.id)),
        ("serial", text(version.serial)),
        ("created", text(&version.created_at)),
        ("status", status(&version.status)),
        ("bytes", text(version.size.map(|size| size.to_string()).unwrap_or_default())),
        ("version", text(version.terraform_version.as_deref().unwrap_or_default())),
        ("run", text(version.run_id.as_deref().unwrap_or_default())),
    ])
}

async fn download(context: &Context, workspace: &str, file: Option<&Path>) -> Result<Done, Failure> {
    let (client, workspace) = context.workspace(workspace).await?;
    let version = client.current_state_version(&workspace.id).await?;
    let url = version.hosted_state_download_url.as_deref().ok_or_else(|| {
        Failure::Other("the server gives no address for this state; ask for the right to read states of this workspace".to_owned())
    })?;
    let content = client.download(url).await?;
    match file.filter(|file| *file != Path::new("-")) {
        None => output::bytes(&content)?,
        Some(file) => private_file::write(file, &content)
            .map_err(|error| Failure::Other(format!("{} cannot be written: {error}; choose another file with -O", file.display())))?,
    }
    Ok(Done::Well)
}
