//! `tfe-server open-state`: a state that a runner kept since the installation did not take it.

use std::{fs, io::Write, path::PathBuf, process::ExitCode};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use tfe_core::{job::Job, secret::Secret};
use tfe_runner::open_snapshot;
use tfe_server::Backends;
use tfe_storage::StoreExt;

use super::{Failure, options::ServeOptions};

/// Which one.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  tfe-server open-state --data-dir /var/lib/tfe /var/lib/tfe/spool/kept/job-…/state.sealed > terraform.tfstate\n\n\
    It needs what opens the installation: the data directory, or the settings of a server in external mode. A file of a worker\n\
    is copied to there first. The state holds secrets; push it with `terraform state push` and remove it."
)]
pub(crate) struct Options {
    #[command(flatten)]
    serve: ServeOptions,
    /// The job that it is of [default: the name of the directory that the file is in]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// The sealed state
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Writes it to standard output, in clear.
pub(crate) async fn run(options: Options) -> Result<ExitCode, Failure> {
    let of_directory = || Some(std::path::absolute(&options.file).ok()?.parent()?.file_name()?.to_str()?.to_owned());
    let job = options.job.clone().or_else(of_directory).ok_or("name the job that the state is of with --job")?;
    let shown = options.file.display();
    let sealed = fs::read(&options.file).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let configuration = options.serve.read(&[]).await?;
    let backends = Backends::open_shared(&configuration).await?;
    let job = backends.store.find::<Job>(&job).await?.ok_or_else(|| format!("there is no job {job} in this installation"))?;
    let key = backends.vault.open(&Job::SPOOL_KEY.context(&job.id), &job.spool_key).await?;
    let state = open_snapshot(&Secret::from(STANDARD.encode(&*key)), job.id.as_str(), &sealed).ok_or_else(|| {
        format!(
            "{shown} is damaged, or of another job than {}, or older than a restore of the installation, which changes all keys",
            job.id
        )
    })?;
    std::io::stdout().lock().write_all(&state)?;
    Ok(ExitCode::SUCCESS)
}
