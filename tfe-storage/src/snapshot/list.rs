//! Which snapshots there are.

use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};

use super::{Damage, Manifest, Repository, SnapshotError};
use crate::BlobError;

/// Below what manifests are.
pub(super) const DIRECTORY: &str = "snapshots";

/// The document that names the newest snapshot.
const NEWEST: &str = "newest";

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

    /// The newest that can be read and is wanted.
    pub(super) async fn newest_with(&self, is_wanted: impl Fn(&Manifest) -> bool + Send) -> Result<Option<Manifest>, SnapshotError> {
        for id in self.ids().await? {
            match self.manifest(&id).await {
                Ok(manifest) if is_wanted(&manifest) => return Ok(Some(manifest)),
                Ok(_) | Err(SnapshotError::Damaged(_) | SnapshotError::Inconsistent(_) | SnapshotError::NoSnapshot(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
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

impl Repository {
    /// Notes which snapshot is the newest, so that the loss of a manifest is seen.
    pub(super) async fn note_newest(&self, id: &str) -> Result<(), SnapshotError> {
        self.write_document(&Path::from(NEWEST), id.as_bytes()).await
    }

    /// What is wrong with the newest snapshot before its manifest is even read: its id, and that it is missing.
    pub async fn missing_newest(&self, ids: &[String]) -> Result<Option<(String, String)>, SnapshotError> {
        let noted = match self.read_document(&Path::from(NEWEST), "the note of the newest snapshot").await {
            Ok(noted) => noted,
            Err(error @ SnapshotError::Damaged(_)) => return Ok(Some((NEWEST.to_owned(), error.to_string()))),
            Err(error) => return Err(error),
        };
        match noted.map(|noted| String::from_utf8_lossy(&noted).into_owned()) {
            Some(noted) if ids.first().is_none_or(|first| *first < noted) => Ok(Some((noted, "its manifest is missing".to_owned()))),
            // The first snapshot may have been cut off just before its note.
            None if ids.len() > 1 => Ok(Some((NEWEST.to_owned(), "the note of the newest snapshot is missing".to_owned()))),
            _ => Ok(None),
        }
    }
}

/// Where a manifest is.
pub(super) fn path(id: &str) -> Path {
    Path::from_iter([DIRECTORY, id])
}
