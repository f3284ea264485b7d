//! Who works on a repository: those who make snapshots exclude those who remove them.
//!
//! Whoever begins leaves a mark first and looks for others' marks then, so that of two that begin together at least one
//! sees the other. A mark that is not renewed counts for a while and then no more: its process died.

use std::{sync::Arc, time::Duration};

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};

use super::SnapshotError;
use crate::BlobError;

/// How often a mark is renewed.
const RENEWAL: Duration = Duration::from_mins(1);
/// How old a mark may be: several renewals that failed, and clocks that differ.
const LIFETIME_MILLIS: i64 = 10 * 60 * 1000;
const DIRECTORY: &str = "marks";

/// What somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Create,
    Prune,
}

/// A mark of this process; dropping it leaves it to expire, [`Mark::lift`] removes it.
#[derive(Debug)]
pub(super) struct Mark {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    renewal: tokio::task::JoinHandle<()>,
}

impl Mark {
    /// Leaves a mark, and renews it until it is dropped.
    pub(super) async fn leave(objects: &Arc<dyn ObjectStore>, work: Work) -> Result<Self, SnapshotError> {
        let chance = getrandom::u64().map_err(BlobError::unavailable)?;
        let path = Path::from_iter([DIRECTORY, &format!("{}-{chance:016x}", work.name())]);
        objects.put(&path, Vec::new().into()).await.map_err(BlobError::unavailable)?;
        let (store, place) = (objects.clone(), path.clone());
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWAL).await;
                // One that fails is made up for by the next.
                let _ = store.put(&place, Vec::new().into()).await;
            }
        });
        Ok(Self { objects: objects.clone(), path, renewal })
    }

    /// Whether somebody does that now.
    pub(super) async fn others(objects: &dyn ObjectStore, work: Work, now_millis: i64) -> Result<bool, SnapshotError> {
        let found: Vec<_> = objects.list(Some(&Path::from(DIRECTORY))).try_collect().await.map_err(BlobError::unavailable)?;
        let is_alive = |age: i64| age < LIFETIME_MILLIS;
        Ok(found.iter().any(|mark| {
            let is_of = mark.location.filename().is_some_and(|name| name.starts_with(work.name()));
            is_of && is_alive(now_millis - mark.last_modified.timestamp_millis())
        }))
    }

    /// Removes the mark.
    pub(super) async fn lift(self) {
        let _ = self.objects.delete(&self.path).await;
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Prune => "prune",
        }
    }
}
