//! `tfe-server snapshot`: snapshots by hand, beside a server or without one.

mod place;
mod restore;

use std::{collections::HashSet, process::ExitCode};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tfe_core::{retention::Retention, time::Clock};
use tfe_server::{
    SystemClock,
    snapshots::{drill, kept, kinds},
};
use tfe_storage::snapshot::{self, Choice, CreateOptions, Listed, Manifest, Owner, Part, Repository, SnapshotError};

pub(crate) use self::restore::{RestoreOptions, keep_configuration, restore};
use super::{Failure, options::ServeOptions, print, progress::Shown};

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Take one, of an installation at work or at rest
    #[command(after_help = "Examples:\n  TFE_BACKUP_PASSWORD=… tfe snapshot create --data-dir ./tfe-data --to /mnt/backup\n  \
        TFE_BACKUP_PASSWORD=… tfe snapshot create --config tfe.toml --to s3://bucket/tfe")]
    Create {
        /// Where it goes: a directory, or s3://…, az://…, gs://… [default: as configured]
        #[arg(long, value_name = "URL")]
        to: Option<String>,
        /// Take it even if the newest one there is of another installation, or of this one before or after a restore
        #[arg(long)]
        claim: bool,
        #[command(flatten)]
        options: SnapshotOptions,
    },
    /// List them, newest first
    List {
        #[command(flatten)]
        from: From,
    },
    /// Show what one consists of
    Show {
        /// Its id [default: the newest]
        id: Option<String>,
        #[command(flatten)]
        from: From,
    },
    /// Restore one into scratch space and check every record, reference, digest, key and state
    Verify {
        /// Its id [default: the newest, with what was committed after it]
        id: Option<String>,
        #[command(flatten)]
        from: From,
    },
    /// Remove those that are not kept, and what only they needed
    #[command(
        after_help = "A snapshot is kept as the newest of its hour, day, week or month (UTC), of so many of each. The newest is always kept.\n\n\
        Example:\n  TFE_BACKUP_PASSWORD=… tfe snapshot prune --from /mnt/backup --keep-daily 7 --keep-hourly 0"
    )]
    Prune {
        /// Remove some even if the newest one there is of another installation, or of this one before or after a restore
        #[arg(long)]
        claim: bool,
        #[command(flatten)]
        keep: Keep,
        #[command(flatten)]
        from: From,
    },
}

/// Where the installation is, and how results are printed.
#[derive(Debug, Args)]
pub(crate) struct SnapshotOptions {
    #[command(flatten)]
    serve: ServeOptions,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where snapshots are.
#[derive(Debug, Args)]
pub(crate) struct From {
    /// Where they are: a directory, or s3://…, az://…, gs://… [default: as configured]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    #[command(flatten)]
    options: SnapshotOptions,
}

#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// How many hours keep a snapshot [default: as configured, or 24]
    #[arg(long, value_name = "N")]
    keep_hourly: Option<usize>,
    /// How many days [default: as configured, or 31]
    #[arg(long, value_name = "N")]
    keep_daily: Option<usize>,
    /// How many weeks [default: as configured, or 8]
    #[arg(long, value_name = "N")]
    keep_weekly: Option<usize>,
    /// How many months [default: as configured, or 12]
    #[arg(long, value_name = "N")]
    keep_monthly: Option<usize>,
}

/// Does it.
pub(crate) async fn run(command: SnapshotCommand) -> Result<ExitCode, Failure> {
    match command {
        SnapshotCommand::Create { to, claim, options } => create(to.as_deref(), claim, options).await,
        SnapshotCommand::List { from } => list(from).await,
        SnapshotCommand::Show { id, from } => show(id, from).await,
        SnapshotCommand::Verify { id, from } => verify(id, from).await,
        SnapshotCommand::Prune { claim, keep, from } => prune(claim, keep, from).await,
    }
}

async fn create(to: Option<&str>, claim: bool, options: SnapshotOptions) -> Result<ExitCode, Failure> {
    let configuration = options.serve.read(&[]).await?;
    let place = place::installed(&configuration).await?.ok_or(SnapshotError::NoInstallation)?;
    let secret = place::secret(&configuration, &place.vault)?;
    let repository = Repository::open_or_create(place::objects(to, &configuration)?, &secret).await?;
    let mut shown = Shown::new();
    let create = CreateOptions {
        clock: &SystemClock,
        program: env!("CARGO_PKG_VERSION"),
        configuration: Some(configuration.file.expose().as_bytes()),
        takes_over: claim,
    };
    let created = snapshot::create(&repository, &place, &kinds(), &create, &mut shown.snapshot()).await;
    shown.end();
    let manifest = created?;
    let text = format!("{} has {} records and {} blobs\n", manifest.id, manifest.records, manifest.blobs);
    said(options.json, &summary(&manifest), &text)
}

async fn list(from: From) -> Result<ExitCode, Failure> {
    let (repository, is_json) = from.opened().await?;
    let listed = repository.list().await?;
    let rows: Vec<Value> = listed.iter().map(row).collect();
    let lines = listed.iter().map(|Listed { id, manifest }| match manifest {
        Ok(manifest) => {
            let Manifest { created_at, records, blobs, blob_bytes, .. } = manifest;
            format!("{id}\t{created_at}\t{records} records\t{blobs} blobs\t{blob_bytes} bytes\n")
        }
        Err(error) => format!("{id}\tdamaged: {error}\n"),
    });
    said(is_json, &Value::from(rows), &lines.collect::<String>())
}

async fn show(id: Option<String>, from: From) -> Result<ExitCode, Failure> {
    let (repository, is_json) = from.opened().await?;
    let id = match id {
        Some(id) => id,
        None => repository.ids().await?.into_iter().next().ok_or("there are no snapshots")?,
    };
    let manifest = repository.manifest(&id).await?;
    let Manifest { created_at, installation, program, .. } = &manifest;
    let head = format!("{id}\nmoment\t{created_at}\ninstallation\t{installation}\nprogram\t{program}\n");
    let parts = manifest.parts.iter().map(|part| {
        let Part { kind, first, last, count, chunk } = part;
        format!("part\t{kind}\t{first} to {last}\t{count} records\t{}\n", chunk.sha256)
    });
    let text: String = std::iter::once(head).chain(parts).collect();
    said(is_json, &serde_json::to_value(&manifest)?, &text)
}

async fn verify(id: Option<String>, from: From) -> Result<ExitCode, Failure> {
    let (repository, is_json) = from.opened().await?;
    let choice = id.map_or(Choice::Newest, Choice::Snapshot);
    let mut shown = Shown::new();
    let drilled = drill(&repository, &choice, &mut shown.snapshot()).await;
    shown.end();
    let drilled = drilled?;
    let document = json!({
        "snapshot": drilled.snapshot, "reached": drilled.reached.to_string(), "records": drilled.records,
        "blobs": drilled.blobs, "commits": drilled.commits, "states": drilled.states,
    });
    let text = format!(
        "{} is good: {} records, {} blobs and the states of {} workspaces; with {} commits after it a restore reaches {}\n",
        drilled.snapshot, drilled.records, drilled.blobs, drilled.states, drilled.commits, drilled.reached
    );
    said(is_json, &document, &text)
}

async fn prune(claim: bool, keep: Keep, from: From) -> Result<ExitCode, Failure> {
    let configuration = from.options.serve.read(&[]).await?;
    let chosen = configuration.snapshots.retention;
    let retention = Retention {
        hourly: keep.keep_hourly.unwrap_or(chosen.hourly),
        daily: keep.keep_daily.unwrap_or(chosen.daily),
        weekly: keep.keep_weekly.unwrap_or(chosen.weekly),
        monthly: keep.keep_monthly.unwrap_or(chosen.monthly),
    };
    let (repository, is_json) = from.opened().await?;
    if !claim && let Some(place) = place::installed(&configuration).await? {
        repository.claim(&Owner::of(&*place.store).await?).await?;
    }
    let pruned = snapshot::prune(&repository, SystemClock.now(), |all| -> HashSet<String> { kept(&retention, all) }).await?;
    let done = format!("{} snapshots and {} objects were removed\n", pruned.snapshots.len(), pruned.objects);
    let unreadable = pruned.unreadable.iter();
    let unreadable = unreadable.map(|id| format!("{id} cannot be read; no objects were removed that it may need\n"));
    let text: String = std::iter::once(done).chain(unreadable).collect();
    said(is_json, &json!({ "snapshots": pruned.snapshots, "objects": pruned.objects, "unreadable": pruned.unreadable }), &text)
}

fn row(listed: &Listed) -> Value {
    match &listed.manifest {
        Ok(manifest) => summary(manifest),
        Err(error @ SnapshotError::Damaged(_)) => json!({ "id": listed.id, "damaged": error.to_string() }),
        Err(error) => json!({ "id": listed.id, "unreadable": error.to_string() }),
    }
}

fn summary(manifest: &Manifest) -> Value {
    json!({
        "id": manifest.id,
        "created-at": manifest.created_at.to_string(),
        "installation": manifest.installation,
        "program": manifest.program,
        "records": manifest.records,
        "blobs": manifest.blobs,
        "blob-bytes": manifest.blob_bytes,
    })
}

fn said(is_json: bool, document: &Value, text: &str) -> Result<ExitCode, Failure> {
    print(&if is_json { serde_json::to_string_pretty(document)? + "\n" } else { text.to_owned() })?;
    Ok(ExitCode::SUCCESS)
}
