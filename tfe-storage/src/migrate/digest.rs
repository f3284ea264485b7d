//! Digests of an installation, equal exactly if all records and contents are.

use std::{collections::BTreeMap, fmt, fmt::Write};

use futures::TryStreamExt;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tfe_core::{
    blob::{BLOBS, Blob},
    record::Kind,
};

use super::{MigrateError, Place, Progress, Stage, records::opened};
use crate::{BlobError, Blobs, rewrap::page_after};

/// Records that are read at once.
const PAGE: u64 = 200;

/// The digest of an installation, kind by kind. Secrets count as what they are and not as how they are sealed, blobs as
/// their content; versions of records do not count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Digest {
    /// For each kind, how many records there are and the hex SHA-256 over all of them.
    pub kinds: BTreeMap<&'static str, KindDigest>,
}

/// The digest of the records of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KindDigest {
    /// How many there are.
    pub count: u64,
    /// Hex SHA-256 over all of them.
    pub sha256: String,
}

impl Digest {
    /// The name of a kind in which two installations differ.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let differs = |kind: &&&'static str| self.kinds.get(**kind) != other.kinds.get(**kind);
        self.kinds.keys().chain(other.kinds.keys()).find(|kind| differs(kind)).map(|kind| (*kind).to_owned())
    }

    /// How many records there are.
    pub fn count(&self) -> u64 {
        self.kinds.values().map(|kind| kind.count).sum()
    }
}

/// One value for all kinds, as hex SHA-256.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = Sha256::new();
        for (kind, digest) in &self.kinds {
            all.update(format!("{kind} {} {}\n", digest.count, digest.sha256));
        }
        f.write_str(&hex(&all.finalize()))
    }
}

/// Reads everything: records, secrets and the contents of blobs.
pub async fn digest(place: &Place, kinds: &[&'static Kind], progress: Progress<'_>) -> Result<Digest, MigrateError> {
    let mut done = 0;
    let mut digests = BTreeMap::new();
    for kind in kinds.iter().copied().filter(|kind| super::is_moved(kind)) {
        let mut all = Sha256::new();
        let mut count = 0;
        let mut after: Option<String> = None;
        loop {
            let page = page_after(&*place.store, kind, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for record in &page {
                let body = canonical(&opened(place, kind, record).await?);
                all.update(format!("{} {} {body}\n", record.id, record.created_at.as_millis()));
                if kind.name == BLOBS.name {
                    read_content(place, &record.body).await?;
                }
                (count, done) = (count + 1, done + 1);
            }
            progress(Stage::Verification, done);
        }
        digests.insert(kind.name, KindDigest { count, sha256: hex(&all.finalize()) });
    }
    Ok(Digest { kinds: digests })
}

/// Reads a blob to its end and compares it with the digest in its record.
async fn read_content(place: &Place, body: &serde_json::Value) -> Result<(), MigrateError> {
    let blob: Blob = serde_json::from_value(body.clone()).map_err(|source| crate::Error::Corrupt {
        kind: BLOBS.name,
        id: body["id"].to_string(),
        source,
    })?;
    let failed = |error| MigrateError::Blob { id: blob.id.to_string(), source: error };
    let blobs = Blobs::new(place.objects.clone(), place.vault.clone());
    let content = blobs.read(&blob, None).await.map_err(failed)?;
    let hash = content.try_fold(Sha256::new(), async |hash, piece| Ok(hash.chain_update(&piece))).await;
    let hash = hash.map_err(|error| failed(BlobError::unavailable(error)))?;
    if hex(&hash.finalize()) == blob.sha256 { Ok(()) } else { Err(failed(BlobError::Tampered(blob.id.clone()))) }
}

/// JSON with sorted keys: databases give them in an order of their own.
fn canonical(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let members: Vec<_> = sorted.iter().map(|(key, value)| format!("{key:?}:{}", canonical(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        serde_json::Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
