//! The progress of sealing everything anew after a key was rotated: one record, so that any node can go on with it.

use serde::{Deserialize, Serialize};

use crate::{id::Id, record, time::Timestamp};

/// How far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rewrap {
    /// Always [`Rewrap::only_id`].
    pub id: Id<Rewrap>,
    /// When the first one began.
    pub created_at: Timestamp,
    /// When the present one began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The name of the kind that it is at.
    pub kind: String,
    /// The last record of that kind that was looked at.
    pub after: Option<String>,
    /// How many records it has looked at.
    pub seen: u64,
    /// How many of these it has written.
    pub changed: u64,
    /// Why the last step failed, if it did; the next one tries again.
    pub error: Option<String>,
}

record!(Rewrap, REWRAPS = "rewraps", prefix: "rewrap", fields: [], unique: [], indexes: []);

impl Rewrap {
    /// The id of the one record.
    pub fn only_id() -> Id<Self> {
        Id::from("rewrap-this")
    }
}
