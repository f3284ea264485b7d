//! `tfe-server restore`: a snapshot becomes an installation again.

use std::{io::Write, os::unix::fs::OpenOptionsExt, process::ExitCode};

use clap::Args;
use serde_json::json;
use tfe_core::time::Timestamp;
use tfe_server::{
    Backends,
    configuration::Configuration,
    snapshots::{self, Restorer},
};
use tfe_storage::snapshot::{Choice, Repository, Restored};

use super::{From, place, said};
use crate::cli::{Failure, compose, progress::Shown};

/// The exit code of a restore that had to leave out something.
const DAMAGED: u8 = 3;
const AFTERWARDS: &str =
    "runs that were in flight end at the next start; automatic applies are paused until: tfe admin restoration --resume";

/// What to restore, and to where.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  TFE_BACKUP_PASSWORD=… tfe-server restore --from /mnt/backup --data-dir ./tfe-data\n  \
    TFE_BACKUP_PASSWORD=… tfe-server restore --from s3://bucket/tfe --config tfe.toml --at 2026-11-25T10:00:00Z\n\n\
    The target must be empty. Afterwards runs that were in flight are errored, and nothing is applied by itself\n\
    until: tfe admin restoration --resume")]
pub(crate) struct RestoreOptions {
    /// Restore that snapshot alone [default: the newest good one, with what was committed after it]
    #[arg(long, value_name = "ID", conflicts_with = "at")]
    snapshot: Option<String>,
    /// Restore what there was at that time, as in 2026-11-25T10:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The blobs that are in the object store already are nobody else's any more; those that the restored installation does not know
    /// are deleted by and by
    #[arg(long)]
    reuse_objects: bool,
    #[command(flatten)]
    from: From,
}

/// Restores.
pub(crate) async fn restore(options: RestoreOptions) -> Result<ExitCode, Failure> {
    let choice = match (&options.snapshot, &options.at) {
        (Some(id), _) => Choice::Snapshot(id.clone()),
        (None, Some(time)) => {
            let time = Timestamp::parse(time).ok_or_else(|| format!("\"{time}\" is no time like 2026-11-25T10:00:00Z"))?;
            Choice::At(time)
        }
        (None, None) => Choice::Newest,
    };
    let configuration = options.from.options.serve.read(&[]).await?;
    let backends = Backends::open(&configuration).await?;
    let place = place::of(&backends);
    let secret = place::secret(&configuration, &place.vault)?;
    let repository = Repository::open(place::objects(options.from.from.as_deref(), &configuration)?, &secret).await?;
    let mut shown = Shown::new();
    let name = compose::node_name(&configuration)?;
    let restorer = Restorer { name: &name, reuses_objects: options.reuse_objects };
    let restored = snapshots::restore(&repository, &place, &choice, &restorer, &mut shown.snapshot()).await;
    shown.end();
    let restored = restored?;
    let kept = keep_configuration(&configuration, &restored)?;
    report(&restored, kept.as_deref(), options.from.options.json)?;
    Ok(if restored.passed_over.is_empty() && restored.journal_cut.is_none() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

/// Leaves the configuration of the snapshot beside the data, for the operator to look at; it may hold secrets.
pub(crate) fn keep_configuration(configuration: &Configuration, restored: &Restored) -> Result<Option<String>, Failure> {
    let Some(content) = restored.configuration.as_ref().filter(|content| !content.is_empty()) else { return Ok(None) };
    let path = configuration.data_directory.join("restored.toml");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(content)?;
    Ok(Some(path.display().to_string()))
}

fn report(restored: &Restored, configuration: Option<&str>, is_json: bool) -> Result<(), Failure> {
    let document = json!({
        "snapshot": restored.snapshot.id,
        "reached": restored.reached.to_string(),
        "records": restored.records,
        "blobs": restored.blobs,
        "commits": restored.commits,
        "passed-over": restored.passed_over.iter().map(|(id, why)| json!({ "snapshot": id, "why": why })).collect::<Vec<_>>(),
        "journal-cut": restored.journal_cut,
        "configuration": configuration,
    });
    let passed_over = restored.passed_over.iter().map(|(id, why)| format!("{id} is damaged and was passed over: {why}"));
    let done = format!(
        "restored {}: {} records and {} blobs, and {} commits after it; the data is of {}",
        restored.snapshot.id, restored.records, restored.blobs, restored.commits, restored.reached
    );
    let cut = restored.journal_cut.iter().map(|cut| format!("what was committed later could not be restored: {cut}"));
    let configuration = configuration.iter().map(|path| format!("its configuration is in {path}"));
    let lines = passed_over.chain([done]).chain(cut).chain(configuration).chain([AFTERWARDS.to_owned()]);
    let text: String = lines.map(|line| line + "\n").collect();
    said(is_json, &document, &text).map(drop)
}
