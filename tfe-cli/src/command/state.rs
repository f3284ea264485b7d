//! `tfe state`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{End, Failure, Session, output};
use crate::private_file;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the state versions of a workspace, newest first
    List {
        /// The workspace
        workspace: String,
        /// How many
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
    },
    /// Show the current state version of a workspace
    Show {
        /// The workspace
        workspace: String,
    },
    /// Download the current state of a workspace; it can hold secrets in clear
    Download {
        /// The workspace
        workspace: String,
        /// Where to; default: standard output
        #[arg(long, short, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub(super) async fn run(command: Command, session: &Session) -> Result<End, Failure> {
    match command {
        Command::List { workspace, limit } => {
            let versions = session.client.state_versions(session.organization()?, &workspace, limit).await?;
            session.output.list(&versions, ["version", "serial", "status", "made", "terraform"], |version| {
                let terraform = version.terraform_version.clone().unwrap_or_default();
                [version.id.clone(), version.serial.to_string(), version.status.clone(), version.created_at.clone(), terraform]
            })?;
        }
        Command::Show { workspace } => {
            let workspace = session.workspace(&workspace).await?;
            let version = session.client.current_state_version(&workspace.id).await?;
            let lines = [
                ("version", version.id.clone()),
                ("serial", version.serial.to_string()),
                ("status", version.status.clone()),
                ("made", version.created_at.clone()),
                ("bytes", version.size.map(|size| size.to_string()).unwrap_or_default()),
                ("terraform", version.terraform_version.clone().unwrap_or_default()),
                ("run", version.run_id.clone().unwrap_or_default()),
            ];
            session.output.one(&version, &lines)?;
        }
        Command::Download { workspace, file } => download(session, &workspace, file).await?,
    }
    Ok(End::Done)
}

async fn download(session: &Session, workspace: &str, file: Option<PathBuf>) -> Result<(), Failure> {
    let workspace = session.workspace(workspace).await?;
    let version = session.client.current_state_version(&workspace.id).await?;
    let missing = || Failure::Other("the server gives no address for the state's content".to_owned());
    let content = session.client.download(version.hosted_state_download_url.as_deref().ok_or_else(missing)?).await?;
    let Some(path) = file else { return output::print(&String::from_utf8_lossy(&content)) };
    private_file::write(&path, &content)?;
    session.output.say(&format!("Serial {} is in {}", version.serial, path.display()))
}
