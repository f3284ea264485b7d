//! Which snapshots there are.

use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};

use super::{Damage, Manifest, Repository, SnapshotError};
use crate::BlobError;

/// Below what manifests are.
pub(super) const DIRECTORY: &str = "snapshots";

/// A snapshot in a list: its manifest, or what is wrong with that.
#[derive(Debug)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its manifest.
    pub manifest: Result<Manifest, SnapshotError>,
}

impl Repository {
    /// Ids of all snapshots, newest first.
    pub async fn ids(&self) -> Result<Vec<String>, SnapshotError> {
        let found: Vec<_> = self.objects.list(Some(&Path::from(DIRECTORY))).try_collect().await.map_err(BlobError::unavailable)?;
        let mut ids: Vec<_> = found.iter().filter_map(|object| object.location.filename().map(str::to_owned)).collect();
        ids.sort_unstable_by(|one, other| other.cmp(one));
        Ok(ids)
    }

    /// All snapshots, newest first.
    pub async fn list(&self) -> Result<Vec<Listed>, SnapshotError> {
        let mut listed = Vec::new();
        for id in self.ids().await? {
            let manifest = match self.manifest(&id).await {
                Err(SnapshotError::NoSnapshot(_)) => continue,
                manifest => manifest,
            };
            listed.push(Listed { id, manifest });
        }
        Ok(listed)
    }

    /// The manifest of a snapshot.
    pub async fn manifest(&self, id: &str) -> Result<Manifest, SnapshotError> {
        let path = path(id);
        let document = self.read_document(&path, "the manifest of a snapshot").await?;
        let document = document.ok_or_else(|| SnapshotError::NoSnapshot(id.to_owned()))?;
        let manifest = Manifest::parse(&document)?;
        if manifest.id == id { Ok(manifest) } else { Err(Damage::one(path.to_string(), "the manifest of another snapshot").into()) }
    }
}

/// Where a manifest is.
pub(super) fn path(id: &str) -> Path {
    Path::from_iter([DIRECTORY, id])
}
