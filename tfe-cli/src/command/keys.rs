//! `tfe keys`: rotating what seals secrets, and sealing everything anew, while the server works.

use std::{io::IsTerminal, time::Duration};

use clap::Subcommand;
use serde::Serialize;

use super::{
    context::Context,
    failure::{Done, Failure},
    output::{Table, note, text},
};
use crate::model::Rewrap;

/// The pause between two looks at the progress.
const PAUSE: Duration = Duration::from_millis(500);

/// What to do with the keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make a new key version, which seals from now on; what was sealed before stays readable.
    Rotate,
    /// Seal everything anew with the newest key version, and wait for it; stopping the wait does not stop the server.
    Rewrap,
    /// Show how far sealing anew is.
    Status,
}

#[derive(Debug, Serialize)]
struct Rotated {
    version: u64,
}

pub(super) async fn run(context: &Context, command: KeysCommand) -> Result<Done, Failure> {
    let client = context.client().await?;
    match command {
        KeysCommand::Rotate => {
            let version = client.rotate_key().await?;
            context.output.print(&Rotated { version }, || Table::details(vec![("key version", text(version.to_string()))]))?;
            Ok(Done::Well)
        }
        KeysCommand::Status => show(context, client.rewrap_progress().await?),
        KeysCommand::Rewrap => {
            client.begin_rewrap().await?;
            loop {
                let progress = client.rewrap_progress().await?;
                match progress {
                    Some(progress) if progress.status != "finished" => tell(&progress),
                    progress => return show(context, progress),
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn tell(progress: &Rewrap) {
    if std::io::stderr().is_terminal() {
        let trouble = progress.error.as_ref().map(|error| format!(" (waiting: {error})")).unwrap_or_default();
        note(&format!("{} records seen, {} sealed anew, now {}{trouble}", progress.seen, progress.changed, progress.kind));
    }
}

fn show(context: &Context, progress: Option<Rewrap>) -> Result<Done, Failure> {
    let Some(progress) = progress else {
        context.output.print(&serde_json::Value::Null, || Table::details(vec![("status", text("never"))]))?;
        return Ok(Done::Well);
    };
    context.output.print(&progress, || {
        let (seen, changed) = (progress.seen.to_string(), progress.changed.to_string());
        Table::details(vec![("status", text(&progress.status)), ("records seen", text(&seen)), ("sealed anew", text(&changed))])
    })?;
    Ok(Done::Well)
}
