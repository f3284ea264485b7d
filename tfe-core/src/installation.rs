//! The installation itself: one record.

use serde::{Deserialize, Serialize};

use crate::{id::Id, record, record::Seal, secret::Sealed, time::Timestamp};

/// What belongs to the installation as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Installation {
    /// Always [`Installation::only_id`].
    pub id: Id<Installation>,
    /// When it was set up.
    pub created_at: Timestamp,
    /// Distinguishes this installation from others, for directories and names outside of the store.
    pub name: String,
    /// The key that signs upload and download addresses, as hex, sealed by the vault.
    pub signing_key: Sealed,
    /// Whether it is being copied to here and not complete yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
    /// The last restore from a snapshot, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoration: Option<Restoration>,
}

/// A restore from a snapshot, and what has followed from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restoration {
    /// When it was done.
    pub at: Timestamp,
    /// The id of the snapshot.
    pub snapshot: String,
    /// The moment that the data shows. What was acknowledged later is lost.
    pub reached: Timestamp,
    /// Whether what was in flight at that moment has been ended.
    pub is_settled: bool,
    /// Whether plans wait for a person though their runs would apply them by themselves.
    pub applies_paused: bool,
}

record!(Installation, INSTALLATIONS = "installations", prefix: "installation", fields: [], unique: [], indexes: [],
    seals: [Installation::SIGNING_KEY]);

impl Installation {
    /// Where the signing key is.
    pub const SIGNING_KEY: Seal = Seal { path: &["signing_key"], context: "installation:signing-key" };

    /// Whether plans wait for a person though their runs would apply them by themselves.
    pub fn applies_paused(&self) -> bool {
        self.restoration.as_ref().is_some_and(|restoration| restoration.applies_paused)
    }

    /// The id of the one record.
    pub fn only_id() -> Id<Self> {
        Id::from("installation-this")
    }
}
