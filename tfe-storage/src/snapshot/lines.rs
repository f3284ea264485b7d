//! Records as a snapshot holds them: one JSON line each, with secrets opened.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tfe_core::{
    blob::{BLOBS, Blob},
    cipher::Key,
    record::Kind,
    secret::Sealed,
    time::Timestamp,
};

use super::SnapshotError;
use crate::{FIRST_VERSION, StoredRecord, Vault, migrate::hex};

/// A record. Where the installation has a sealed value, its body has the hex of the clear one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) created_at: Timestamp,
    pub(crate) body: Value,
}

impl Line {
    /// With the secrets opened.
    pub(crate) async fn opened(vault: &dyn Vault, kind: &'static Kind, record: StoredRecord) -> Result<Self, SnapshotError> {
        let StoredRecord { id, created_at, mut body, .. } = record;
        for seal in kind.seals {
            let Some(sealed) = seal.value(&body) else { continue };
            let plain = vault.open(&seal.context(&id), &sealed).await;
            let plain = plain.map_err(|source| SnapshotError::Vault { record: format!("{} {id}", kind.name), source })?;
            seal.replace(&mut body, &Sealed::new(hex(&plain)));
        }
        Ok(Self { id, created_at, body })
    }

    /// With the secrets sealed by a vault.
    pub(crate) async fn sealed(self, vault: &dyn Vault, kind: &'static Kind) -> Result<StoredRecord, SnapshotError> {
        let Self { id, created_at, mut body } = self;
        for seal in kind.seals {
            let Some(opened) = seal.value(&body) else { continue };
            let plain = bytes(opened.as_str()).ok_or_else(|| SnapshotError::Inconsistent(format!("{} {id}", kind.name)))?;
            let sealed = vault.seal(&seal.context(&id), &plain).await;
            let sealed = sealed.map_err(|source| SnapshotError::Vault { record: format!("{} {id}", kind.name), source })?;
            seal.replace(&mut body, &sealed);
        }
        Ok(StoredRecord { id, created_at, version: FIRST_VERSION, body })
    }

    /// The line's blob and data key; none for other kinds.
    pub(crate) fn blob(&self, kind: &str) -> Option<Result<(Blob, Key), SnapshotError>> {
        let wrong = || SnapshotError::Inconsistent(format!("{kind} {}", self.id));
        let read = || {
            let blob: Blob = serde_json::from_value(self.body.clone()).ok()?;
            let key = Key::from_slice(&bytes(blob.wrapped_key.as_str())?)?;
            Some((blob, key))
        };
        (kind == BLOBS.name).then(|| read().ok_or_else(wrong))
    }
}

/// One line for each record.
pub(super) fn written(lines: &[Line]) -> Result<Vec<u8>, SnapshotError> {
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).map_err(|error| SnapshotError::Inconsistent(error.to_string()))?;
        text.push(b'\n');
    }
    Ok(text)
}

pub(super) fn read(text: &[u8]) -> Result<Vec<Line>, SnapshotError> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| SnapshotError::Inconsistent(error.to_string()))).collect()
}

/// The bytes of lower-case hexadecimal.
fn bytes(hex: &str) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect::<Option<Vec<u8>>>().map(zeroize::Zeroizing::new)
}
