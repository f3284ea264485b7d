//! Whose snapshots these are: which installation, and which of its lives.
//!
//! A restore begins a new life, and the one before may go on elsewhere. Two that write to one repository would each be given
//! the other's data by their next restore, so whoever was restored takes the place over and the other is refused.

use serde_json::Value;
use sha2::{Digest, Sha256};
use tfe_core::installation::{INSTALLATIONS, Installation, Restoration};

use super::{Manifest, Repository, SnapshotError};
use crate::{Store, migrate::hex};

/// An installation in one of its lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub(super) name: String,
    pub(super) identity: String,
    restoration: Option<Restoration>,
}

impl Owner {
    /// That of a store. Refused where there is no installation, or none that is complete.
    pub async fn of(store: &dyn Store) -> Result<Self, SnapshotError> {
        let record = store.get(&INSTALLATIONS, Installation::only_id().as_str()).await?;
        record.and_then(|record| Self::read(&record.body)).ok_or(SnapshotError::NoInstallation)
    }

    /// From the installation's record; none if that is not complete.
    pub(super) fn read(body: &Value) -> Option<Self> {
        let installation: Installation = serde_json::from_value(body.clone()).ok()?;
        if installation.unfinished {
            return None;
        }
        let Installation { name, restoration, .. } = installation;
        let life = restoration.as_ref().map(|restoration| format!("{} {}", restoration.at.as_millis(), restoration.snapshot));
        let identity = hex(&Sha256::digest(format!("{name}\n{}", life.unwrap_or_default())));
        Some(Self { name, identity, restoration })
    }

    /// Whether a snapshot is of this life; those of older programs do not say.
    fn has(&self, manifest: &Manifest) -> bool {
        manifest.identity.as_ref().is_none_or(|identity| *identity == self.identity)
    }
}

impl Repository {
    /// Refuses if the newest snapshot is of somebody else. Who was restored from here since it was taken follows it.
    pub async fn claim(&self, owner: &Owner) -> Result<(), SnapshotError> {
        let Some(newest) = self.newest_with(Manifest::has_installation).await?.filter(|newest| !owner.has(newest)) else { return Ok(()) };
        let follows = match &owner.restoration {
            Some(restoration) if restoration.snapshot == newest.id => true,
            Some(restoration) => newest.created_at <= restoration.at && self.ids().await?.contains(&restoration.snapshot),
            None => false,
        };
        if follows { Ok(()) } else { Err(SnapshotError::Foreign(newest.id)) }
    }

    /// The newest snapshot of this life that can be read, if `has_journal` of those that a journal leads on from.
    pub async fn newest_of(&self, owner: &Owner, has_journal: bool) -> Result<Option<Manifest>, SnapshotError> {
        self.newest_with(|manifest| owner.has(manifest) && (manifest.journal.is_some() || !has_journal)).await
    }
}
