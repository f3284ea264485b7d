//! `tfe support-bundle`: what somebody who helps needs to see.

use std::path::PathBuf;

use clap::Args;

use super::{
    context::Context,
    failure::{Done, Failure},
};
use crate::private_file;

/// Where the archive goes.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tfe support-bundle --output tfe-support.tar.gz\n\n\
    The archive holds health, redacted configuration, nodes, workers, queue, failed runs, figures and the last lines of the log;\n\
    no values of variables, state, plans, logs of runs, tokens or keys.")]
pub(super) struct SupportOptions {
    /// The file that is written.
    #[arg(long, value_name = "FILE", default_value = "tfe-support.tar.gz")]
    output: PathBuf,
}

pub(super) async fn run(context: &Context, options: SupportOptions) -> Result<Done, Failure> {
    let archive = context.client().await?.support_bundle().await?;
    private_file::write(&options.output, &archive)
        .map_err(|error| Failure::Other(format!("{} cannot be written: {error}", options.output.display())))?;
    context.output.say(&format!("{} bytes are in {}; look at them before you pass them on", archive.len(), options.output.display()))?;
    Ok(Done::Well)
}
