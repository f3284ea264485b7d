//! Starting from a snapshot: when told to, or when a server starts where there is no data.

use std::{path::Path, sync::Arc, time::Duration};

use futures::TryStreamExt;
use tfe_core::{
    duty::{Duty, LEASE_SECONDS},
    installation::{Installation, Restoration},
    time::{Clock, Timestamp},
};
use tfe_storage::{
    Blobs, StoreExt, Versioned,
    migrate::Place,
    snapshot::{self, Choice, Repository, Restored, SnapshotError, SnapshotProgress},
};
use tokio::time::Instant;

use super::{fenced::FencedStore, kinds, objects, secret};
use crate::{
    configuration::{RestoreChoice, SnapshotSettings},
    service::duties,
    system::SystemClock,
};

/// The duty of the one who restores, of several that start at once.
const DUTY: &str = "restore";
/// How often it is renewed, and looked at by those who wait.
const TICK: Duration = Duration::from_millis(500);
/// How long to wait for another one that restores: what a large installation takes.
const PATIENCE: Duration = Duration::from_hours(2);

/// How long to wait for the end of the lease of one that has died.
const LEASE_PATIENCE: Duration = Duration::from_secs(LEASE_SECONDS.unsigned_abs() + 1);

/// Who restores, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Restorer<'a> {
    /// The name of the node: one process at a time has it.
    pub name: &'a str,
    /// Whether objects that are in the object store already are nobody else's.
    pub reuses_objects: bool,
}

/// What came of looking for a snapshot at a start.
#[derive(Debug)]
pub enum RestoreOnBoot {
    /// There was an installation already, or somebody else restored one.
    Present,
    /// There is neither an installation nor a snapshot: this is a first start.
    Nothing,
    /// The newest good snapshot was restored.
    Restored(Box<Restored>),
}

/// Restores to an empty place. What comes out is an installation in which runs that were in flight end at its first start, and
/// nothing is applied by itself until an operator says so.
///
/// One process at a time restores to a place: whoever finds another one at it says so, and whoever loses its turn changes nothing
/// any more.
pub async fn restore(
    repository: &Repository,
    place: &Place,
    choice: &Choice,
    restorer: &Restorer<'_>,
    progress: SnapshotProgress<'_>,
) -> Result<Restored, SnapshotError> {
    if present(place).await?.is_some_and(|installation| !installation.unfinished) {
        return Err(SnapshotError::Occupied);
    }
    if !restorer.reuses_objects {
        require_no_objects(place).await?;
    }
    let (begun, deadline) = (SystemClock.now(), Instant::now() + LEASE_PATIENCE);
    loop {
        if let Some(turn) = duties::take(&*place.store, DUTY, restorer.name, begun, SystemClock.now()).await? {
            return in_turn(repository, place, choice, turn, progress).await;
        }
        if Instant::now() >= deadline {
            return Err(SnapshotError::Busy("another process restores a snapshot to here"));
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Restores the newest good snapshot if there is no installation. Of several that start at once one does it and the others wait;
/// if that one dies, another goes on. `name` is this node's.
pub async fn restore_on_boot(
    settings: &SnapshotSettings,
    place: &Place,
    name: &str,
    progress: SnapshotProgress<'_>,
) -> Result<RestoreOnBoot, SnapshotError> {
    let (begun, deadline) = (SystemClock.now(), Instant::now() + PATIENCE);
    loop {
        match present(place).await? {
            Some(installation) if !installation.unfinished => return Ok(RestoreOnBoot::Present),
            // Somebody moves an installation to here; that is not for this to disturb.
            Some(_) if !has_begun(place).await? => return Ok(RestoreOnBoot::Present),
            _ => {}
        }
        let Some(repository) = to_restore_from(settings, place).await? else { return nothing(settings) };
        require_no_objects(place).await?;
        if let Some(turn) = duties::take(&*place.store, DUTY, name, begun, SystemClock.now()).await? {
            return newest_in_turn(&repository, place, turn, progress).await;
        }
        if Instant::now() >= deadline {
            return Err(SnapshotError::Busy("another node restores a snapshot"));
        }
        tracing::info!("another node restores a snapshot; waiting for it");
        tokio::time::sleep(TICK).await;
    }
}

/// The repository, unless there never was a snapshot. That there is none any more is an error: to begin anew would hide it.
async fn to_restore_from(settings: &SnapshotSettings, place: &Place) -> Result<Option<Repository>, SnapshotError> {
    let directory = settings.objects.as_ref().and_then(|objects| objects.url.strip_prefix("file://"));
    // What is not mounted would be made.
    if let Some(directory) = directory.filter(|directory| !Path::new(directory).is_dir()) {
        return Err(SnapshotError::Unsafe(format!(
            "the directory {directory} for snapshots is not there; mount it, or make it for the first start of a new installation"
        )));
    }
    let repository = match Repository::open(objects(settings)?, &secret(settings, &place.vault)).await {
        Err(SnapshotError::NoRepository) => return Ok(None),
        repository => repository?,
    };
    let ids = repository.ids().await?;
    match repository.missing_newest(&ids).await? {
        Some((id, why)) if ids.is_empty() => Err(SnapshotError::Unsafe(format!(
            "the newest snapshot {id} cannot be restored, since {why}, and there is no other; bring the snapshots back, or begin anew \
             with TFE_BACKUP_RESTORE_ON_BOOT=false"
        ))),
        _ => Ok((!ids.is_empty()).then_some(repository)),
    }
}

/// What to do where there is no snapshot.
fn nothing(settings: &SnapshotSettings) -> Result<RestoreOnBoot, SnapshotError> {
    match settings.restore_on_boot {
        RestoreChoice::Required => Err(SnapshotError::Unsafe(
            "there is neither an installation nor a snapshot to restore, which TFE_BACKUP_RESTORE_ON_BOOT requires; check TFE_BACKUP_URL"
                .to_owned(),
        )),
        RestoreChoice::Never | RestoreChoice::Newest => Ok(RestoreOnBoot::Nothing),
    }
}

/// Objects that are there belong to somebody, who may be at work: what the restored records do not refer to would be collected. Those
/// that a restore has brought here are its own.
async fn require_no_objects(place: &Place) -> Result<(), SnapshotError> {
    let mut objects = Blobs::new(place.objects.clone(), place.vault.clone()).written_before(Timestamp::from_millis(i64::MAX));
    let is_empty = objects.try_next().await?.is_none();
    // In this order: whoever restores takes its turn before it writes.
    if is_empty || has_begun(place).await? || present(place).await?.is_some() {
        return Ok(());
    }
    Err(SnapshotError::Unsafe(
        "the object store holds blobs already, and whatever the restored installation does not know would be deleted there; choose an \
         empty bucket or prefix, or, if they are nobody else's any more, do tfe-server restore --reuse-objects"
            .to_owned(),
    ))
}

/// Whether somebody has begun to restore to here.
async fn has_begun(place: &Place) -> Result<bool, SnapshotError> {
    Ok(place.store.find::<Duty>(Duty::id_of(DUTY).as_str()).await?.is_some())
}

async fn present(place: &Place) -> Result<Option<Installation>, SnapshotError> {
    Ok(place.store.find::<Installation>(Installation::only_id().as_str()).await?.map(Versioned::into_record))
}

async fn newest_in_turn(
    repository: &Repository,
    place: &Place,
    turn: Versioned<Duty>,
    progress: SnapshotProgress<'_>,
) -> Result<RestoreOnBoot, SnapshotError> {
    // It may have been done between the look and the turn.
    if present(place).await?.is_some_and(|installation| !installation.unfinished) {
        return Ok(RestoreOnBoot::Present);
    }
    let restored = in_turn(repository, place, &Choice::Newest, turn, progress).await?;
    for (id, why) in &restored.passed_over {
        tracing::error!(snapshot = id, why, "a snapshot is damaged; an older one was restored");
    }
    if let Some(cut) = &restored.journal_cut {
        tracing::error!(cut, reached = %restored.reached, "what was committed after the snapshot could not all be restored");
    }
    Ok(RestoreOnBoot::Restored(Box::new(restored)))
}

/// Restores while the turn is kept. Who loses it stops at once, since another one has begun, and could not commit anything anyway.
async fn in_turn(
    repository: &Repository,
    place: &Place,
    choice: &Choice,
    turn: Versioned<Duty>,
    progress: SnapshotProgress<'_>,
) -> Result<Restored, SnapshotError> {
    let fenced = Arc::new(FencedStore::new(place.store.clone(), DUTY, turn));
    let place = Place { store: fenced.clone(), ..place.clone() };
    let lost = async {
        loop {
            tokio::time::sleep(TICK).await;
            if let Ok(false) = fenced.renew().await {
                return;
            }
        }
    };
    tokio::select! {
        restored = restore_fenced(repository, &place, choice, progress) => restored,
        () = lost => Err(SnapshotError::Busy("this process was held up, and another one restores the snapshot")),
    }
}

async fn restore_fenced(
    repository: &Repository,
    place: &Place,
    choice: &Choice,
    progress: SnapshotProgress<'_>,
) -> Result<Restored, SnapshotError> {
    let restored = snapshot::restore(repository, place, &kinds(), choice, progress).await?;
    let restoration = Restoration {
        at: SystemClock.now(),
        snapshot: restored.snapshot.id.clone(),
        reached: restored.reached,
        is_settled: false,
        applies_paused: true,
    };
    let noted = |installation: Installation| Installation { restoration: Some(restoration.clone()), ..installation };
    place.store.update(Installation::only_id().as_str(), noted).await?;
    snapshot::finish(place).await?;
    Ok(restored)
}
