//! `tfe admin restoration`: what followed from the last restore.

use clap::Args;

use super::{
    context::Context,
    failure::{Done, Failure},
    output::{Table, text},
};

/// What to do about it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  tfe admin restoration\n  tfe admin restoration --resume")]
pub(super) struct RestorationOptions {
    /// Let runs apply by themselves again.
    #[arg(long)]
    resume: bool,
}

pub(super) async fn run(context: &Context, options: RestorationOptions) -> Result<Done, Failure> {
    let client = context.client().await?;
    let restoration = if options.resume { client.resume_applies().await? } else { client.restoration().await? };
    if restoration.is_none() && !context.output.is_json {
        context.output.say("this installation was never restored from a snapshot")?;
        return Ok(Done::Well);
    }
    context.output.print(&restoration, || {
        let details = restoration.iter().flat_map(|restoration| {
            [
                ("restored", text(&restoration.restored_at)),
                ("snapshot", text(&restoration.snapshot)),
                ("data of", text(&restoration.reached)),
                ("automatic applies", text(if restoration.applies_paused { "paused; resume them with --resume" } else { "go on" })),
            ]
        });
        Table::details(details.collect())
    })?;
    Ok(Done::Well)
}
