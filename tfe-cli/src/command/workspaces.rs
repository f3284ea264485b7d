//! `tfe workspace`.

use clap::Subcommand;

use super::{
    context::Context,
    failure::{Done, Failure},
    output::{Cell, Table, text},
};
use crate::Workspace;

/// What can be asked about workspaces.
#[derive(Debug, Subcommand)]
pub(super) enum WorkspaceCommand {
    /// List the workspaces of the organization.
    List {
        /// Only those whose name contains this text.
        #[arg(long, default_value = "", hide_default_value = true)]
        search: String,
    },
    /// Show one workspace.
    Show {
        /// Its name.
        name: String,
    },
}

/// Does it.
pub(super) async fn run(context: &Context, command: WorkspaceCommand) -> Result<Done, Failure> {
    match command {
        WorkspaceCommand::List { search } => list(context, &search).await,
        WorkspaceCommand::Show { name } => show(context, &name).await,
    }
}

async fn list(context: &Context, search: &str) -> Result<Done, Failure> {
    let organization = context.organization()?;
    let workspaces = context.client().await?.workspaces(organization, search).await?;
    context
        .output
        .print(&workspaces, || Table::list(&["name", "resources", "locked", "updated", "id"], workspaces.iter().map(row).collect()))?;
    Ok(Done::Well)
}

fn row(workspace: &Workspace) -> Vec<Cell> {
    let Workspace { name, resource_count, locked, updated_at, id, .. } = workspace;
    vec![text(name), text(resource_count), text(locked), text(updated_at), text(id)]
}

async fn show(context: &Context, name: &str) -> Result<Done, Failure> {
    let (_, workspace) = context.workspace(name).await?;
    context.output.print(&workspace, || details(&workspace))?;
    Ok(Done::Well)
}

fn details(workspace: &Workspace) -> Table {
    Table::details(vec![
        ("name", text(&workspace.name)),
        ("id", text(&workspace.id)),
        ("description", text(workspace.description.as_deref().unwrap_or_default())),
        ("locked", text(workspace.locked)),
        ("execution", text(&workspace.execution_mode)),
        ("version", text(&workspace.terraform_version)),
        ("auto apply", text(workspace.auto_apply)),
        ("resources", text(workspace.resource_count)),
        ("updated", text(&workspace.updated_at)),
        ("current run", text(workspace.current_run_id.as_deref().unwrap_or_default())),
    ])
}
