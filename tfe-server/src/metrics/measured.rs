//! A store and a vault that pass everything on and note how long it took.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use tfe_core::{record::Kind, secret::Sealed};
use tfe_storage::{Batch, Error, Page, Query, Result, Store, StoredRecord, Vault, VaultError, View};

use super::Metrics;

/// A store whose calls are counted. A conflict is an answer and no error.
#[derive(Debug)]
pub(crate) struct MeasuredStore(pub(crate) Arc<dyn Store>, pub(crate) Metrics);

/// A vault whose calls are counted.
#[derive(Debug)]
pub(crate) struct MeasuredVault(pub(crate) Arc<dyn Vault>, pub(crate) Metrics);

#[async_trait]
impl Store for MeasuredStore {
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>> {
        let begun = Instant::now();
        self.noted("get", begun, self.0.get(kind, id).await)
    }

    async fn query(&self, query: &Query) -> Result<Page> {
        let begun = Instant::now();
        self.noted("query", begun, self.0.query(query).await)
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        let begun = Instant::now();
        self.noted("commit", begun, self.0.commit(batch).await)
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        let begun = Instant::now();
        self.noted("view", begun, self.0.view().await)
    }
}

impl MeasuredStore {
    fn noted<T>(&self, operation: &'static str, begun: Instant, result: Result<T>) -> Result<T> {
        let failed = matches!(&result, Err(Error::Unavailable(_) | Error::Full(_) | Error::Corrupt { .. }));
        self.1.call("store", operation, !failed, begun.elapsed());
        result
    }
}

#[async_trait]
impl Vault for MeasuredVault {
    async fn seal(&self, context: &str, plain: &[u8]) -> Result<Sealed, VaultError> {
        let begun = Instant::now();
        self.noted("seal", begun, self.0.seal(context, plain).await)
    }

    async fn open(&self, context: &str, sealed: &Sealed) -> Result<zeroize::Zeroizing<Vec<u8>>, VaultError> {
        let begun = Instant::now();
        self.noted("open", begun, self.0.open(context, sealed).await)
    }

    async fn rewrap(&self, context: &str, sealed: &Sealed) -> Result<Option<Sealed>, VaultError> {
        let begun = Instant::now();
        self.noted("rewrap", begun, self.0.rewrap(context, sealed).await)
    }

    async fn rotate(&self) -> Result<u32, VaultError> {
        let begun = Instant::now();
        self.noted("rotate", begun, self.0.rotate().await)
    }

    async fn check(&self) -> Result<(), VaultError> {
        let begun = Instant::now();
        self.noted("check", begun, self.0.check().await)
    }
}

impl MeasuredVault {
    fn noted<T>(&self, operation: &'static str, begun: Instant, result: Result<T, VaultError>) -> Result<T, VaultError> {
        self.1.call("vault", operation, result.is_ok(), begun.elapsed());
        result
    }
}
