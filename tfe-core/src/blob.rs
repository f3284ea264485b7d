//! The record of a blob: where its sealed bytes are and the wrapped key that opens them.

use serde::{Deserialize, Serialize};

use crate::{id::Id, record, record::Seal, secret::Sealed, time::Timestamp};

/// Large content in the object store. The object is written first and is worthless without this record,
/// which is committed together with whatever refers to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blob {
    /// Its id; the object's key is derived from it.
    pub id: Id<Blob>,
    /// When it was written.
    pub created_at: Timestamp,
    /// Length of the content in bytes.
    pub size: u64,
    /// Hex MD5 of the content, as the state protocol asks for it.
    pub md5: String,
    /// Hex SHA-256 of the content.
    pub sha256: String,
    /// The data key, wrapped by the vault.
    pub wrapped_key: Sealed,
}

record!(Blob, BLOBS = "blobs", prefix: "blob", fields: [], unique: [], indexes: [], seals: [Blob::KEY]);

impl Blob {
    /// Where the data key is.
    pub const KEY: Seal = Seal { path: &["wrapped_key"], context: "blob:{id}" };
}
