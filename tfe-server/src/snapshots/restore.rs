//! Starting from a snapshot: when told to, or when a server starts where there is no data.

use std::time::Duration;

use tfe_core::{
    duty::Duty,
    installation::{Installation, Restoration},
    time::Clock,
};
use tfe_storage::{
    StoreExt, Versioned,
    migrate::Place,
    snapshot::{self, Choice, Repository, Restored, SnapshotError, SnapshotProgress},
};
use tokio::time::Instant;

use super::{kinds, objects, secret};
use crate::{configuration::SnapshotSettings, service::duties, system::SystemClock};

/// The duty of the one who restores, of several that start at once.
const DUTY: &str = "restore";
/// How often it is renewed, and looked at by those who wait.
const TICK: Duration = Duration::from_millis(500);
/// How long to wait for another one that restores: what a large installation takes.
const PATIENCE: Duration = Duration::from_hours(2);

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
pub async fn restore(
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
        let installation = place.store.find::<Installation>(Installation::only_id().as_str()).await?;
        let is_restored_now = place.store.find::<Duty>(Duty::id_of(DUTY).as_str()).await?.is_some();
        match installation {
            Some(installation) if !installation.unfinished => return Ok(RestoreOnBoot::Present),
            // Somebody moves an installation to here; that is not for this to disturb.
            Some(_) if !is_restored_now => return Ok(RestoreOnBoot::Present),
            _ => {}
        }
        let repository = match Repository::open(objects(settings)?, &secret(settings, &place.vault)).await {
            Err(SnapshotError::NoRepository) => return Ok(RestoreOnBoot::Nothing),
            repository => repository?,
        };
        if repository.ids().await?.is_empty() {
            return Ok(RestoreOnBoot::Nothing);
        }
        if let Some(turn) = duties::take(&*place.store, DUTY, name, begun, SystemClock.now()).await? {
            return restore_in_turn(&repository, place, turn, progress).await;
        }
        if Instant::now() >= deadline {
            return Err(SnapshotError::Busy("another node restores a snapshot"));
        }
        tracing::info!("another node restores a snapshot; waiting for it");
        tokio::time::sleep(TICK).await;
    }
}

/// Restores while the turn is kept. Who loses it stops at once, since another one has begun.
async fn restore_in_turn(
    repository: &Repository,
    place: &Place,
    turn: Versioned<Duty>,
    progress: SnapshotProgress<'_>,
) -> Result<RestoreOnBoot, SnapshotError> {
    // It may have been done between the look and the turn.
    let present = place.store.find::<Installation>(Installation::only_id().as_str()).await?;
    if present.is_some_and(|installation| !installation.unfinished) {
        return Ok(RestoreOnBoot::Present);
    }
    let lost = async {
        loop {
            tokio::time::sleep(TICK).await;
            match duties::take(&*place.store, DUTY, &turn.holder, turn.process, SystemClock.now()).await {
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => return,
            }
        }
    };
    let restored = tokio::select! {
        restored = restore(repository, place, &Choice::Newest, progress) => restored?,
        () = lost => return Err(SnapshotError::Busy("this node was held up, and another one restores the snapshot")),
    };
    for (id, why) in &restored.passed_over {
        tracing::error!(snapshot = id, why, "a snapshot is damaged; an older one was restored");
    }
    if let Some(cut) = &restored.journal_cut {
        tracing::error!(cut, reached = %restored.reached, "what was committed after the snapshot could not all be restored");
    }
    Ok(RestoreOnBoot::Restored(Box::new(restored)))
}
