//! Sealing everything anew with the newest key, page by page.
//!
//! A walk can stop at any point and go on from the last id, or begin again: values that have the newest key are left.

use tfe_core::record::Kind;

use crate::{Batch, Error, Query, Result, Store, StoredRecord, Vault, VaultError, batch::Write, fail_point::RESEALING_RECORD};

/// Records that one step looks at: with a remote vault each may take some milliseconds.
pub const REWRAP_PAGE: u64 = 100;

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewrapStep {
    /// How many records were looked at.
    pub seen: u64,
    /// How many of them were written.
    pub changed: u64,
    /// The id to go on after; none at the end of the kind.
    pub last: Option<String>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// The vault did not seal a value anew.
    #[error("a value of {kind} {id} cannot be sealed anew")]
    Vault {
        /// Kind of the record.
        kind: &'static str,
        /// Its id.
        id: String,
        /// Why.
        source: VaultError,
    },
}

/// Seals anew what a page of records of a kind holds, beginning after an id.
pub async fn rewrap_page(
    store: &dyn Store,
    vault: &dyn Vault,
    kind: &'static Kind,
    after: Option<&str>,
) -> Result<RewrapStep, RewrapError> {
    if kind.seals.is_empty() {
        return Ok(RewrapStep { seen: 0, changed: 0, last: None });
    }
    let page = page_after(store, kind, after, REWRAP_PAGE).await?;
    let mut changed = 0;
    for record in &page {
        if rewrap_record(store, vault, kind, record.clone()).await? {
            changed += 1;
            RESEALING_RECORD.reach();
        }
    }
    let is_full = page.len() as u64 == REWRAP_PAGE;
    let last = page.last().filter(|_| is_full).map(|record| record.id.clone());
    Ok(RewrapStep { seen: page.len() as u64, changed, last })
}

/// The records of a kind that come after an id, by id.
pub(crate) async fn page_after(store: &dyn Store, kind: &'static Kind, after: Option<&str>, limit: u64) -> Result<Vec<StoredRecord>> {
    Ok(store.query(&Query::by_id(kind, after, limit)).await?.items)
}

/// Whether the record had to be written. Whoever changes it at the same time is not disturbed: it is read again.
async fn rewrap_record(store: &dyn Store, vault: &dyn Vault, kind: &'static Kind, record: StoredRecord) -> Result<bool, RewrapError> {
    let mut record = record;
    loop {
        let mut next = record.clone();
        for seal in kind.seals {
            let Some(sealed) = seal.value(&record.body) else { continue };
            let failed = |source| RewrapError::Vault { kind: kind.name, id: record.id.clone(), source };
            if let Some(sealed) = vault.rewrap(&seal.context(&record.id), &sealed).await.map_err(failed)? {
                seal.replace(&mut next.body, &sealed);
            }
        }
        if next == record {
            return Ok(false);
        }
        match store.commit(Batch::new().with(Write::Update(kind, next))).await {
            Ok(()) => return Ok(true),
            Err(Error::Conflict { .. }) => match store.get(kind, &record.id).await? {
                Some(newer) => record = newer,
                None => return Ok(false),
            },
            Err(error) => return Err(error.into()),
        }
    }
}
