//! The keyring of an installation whose nodes have no disk of their own: one record, sealed under a password.

use serde::{Deserialize, Serialize};

use crate::{id::Id, record, time::Timestamp};

/// A keyring, as the vault wrote it. It belongs to its store and is never copied to another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Keyring {
    /// Always [`Keyring::only_id`].
    pub id: Id<Keyring>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The vault's document: how the password becomes a key, and the sealed keys.
    pub document: serde_json::Value,
}

record!(Keyring, KEYRINGS = "keyrings", prefix: "keyring", fields: [], unique: [], indexes: []);

impl Keyring {
    /// The id of the one record.
    pub fn only_id() -> Id<Self> {
        Id::from("keyring-this")
    }
}
