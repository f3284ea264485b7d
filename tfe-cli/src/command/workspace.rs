//! `tfe workspace`.

use clap::Subcommand;

use super::{End, Failure, Session};
use crate::model::Workspace;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the workspaces of the organization
    List {
        /// Only those whose name contains this
        #[arg(default_value = "")]
        search: String,
    },
    /// Show a workspace
    Show {
        /// Its name
        name: String,
    },
}

pub(super) async fn run(command: Command, session: &Session) -> Result<End, Failure> {
    match command {
        Command::List { search } => {
            let workspaces = session.client.workspaces(session.organization()?, &search).await?;
            session.output.list(&workspaces, ["name", "resources", "lock", "terraform", "updated"], |workspace| {
                let Workspace { name, resource_count, terraform_version, updated_at, .. } = workspace;
                [name.clone(), resource_count.to_string(), lock(workspace), terraform_version.clone(), updated_at.clone()]
            })?;
        }
        Command::Show { name } => {
            let workspace = session.workspace(&name).await?;
            let lines = [
                ("name", workspace.name.clone()),
                ("id", workspace.id.clone()),
                ("description", workspace.description.clone().unwrap_or_default()),
                ("execution", workspace.execution_mode.clone()),
                ("terraform", workspace.terraform_version.clone()),
                ("resources", workspace.resource_count.to_string()),
                ("lock", lock(&workspace)),
                ("run", workspace.current_run_id.clone().unwrap_or_default()),
                ("updated", workspace.updated_at.clone()),
            ];
            session.output.one(&workspace, &lines)?;
        }
    }
    Ok(End::Done)
}

fn lock(workspace: &Workspace) -> String {
    if workspace.locked { "locked".to_owned() } else { String::new() }
}
