//! A store whose commits count only as long as a duty is this process's: one that was frozen, and finds that another one has begun
//! in its place, changes nothing any more.

use std::sync::Arc;

use async_trait::async_trait;
use tfe_core::{
    duty::{DUTIES, Duty},
    record::Kind,
    time::Clock,
};
use tfe_storage::{Batch, Error, Page, Query, Result, Store, StoredRecord, Versioned, View};
use tokio::sync::RwLock;

use crate::{service::duties, system::SystemClock};

/// Checks the duty in every commit.
#[derive(Debug)]
pub(super) struct FencedStore {
    inner: Arc<dyn Store>,
    name: &'static str,
    /// The duty as it is stored; nothing is committed while it is renewed.
    turn: RwLock<Versioned<Duty>>,
}

impl FencedStore {
    /// `turn` is the duty of that name, as it was taken.
    pub(super) fn new(inner: Arc<dyn Store>, name: &'static str, turn: Versioned<Duty>) -> Self {
        Self { inner, name, turn: RwLock::new(turn) }
    }

    /// Renews the duty. False once another one has it.
    pub(super) async fn renew(&self) -> Result<bool> {
        let mut turn = self.turn.write().await;
        let (holder, process) = (turn.holder.clone(), turn.process);
        let renewed = duties::take(&*self.inner, self.name, &holder, process, SystemClock.now()).await?;
        Ok(renewed.map(|renewed| *turn = renewed).is_some())
    }

    async fn commit_once(&self, batch: Batch) -> Result<()> {
        let turn = self.turn.read().await;
        self.inner.commit(batch.check(&turn)).await
    }
}

#[async_trait]
impl Store for FencedStore {
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>> {
        self.inner.get(kind, id).await
    }

    async fn query(&self, query: &Query) -> Result<Page> {
        self.inner.query(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        match self.commit_once(batch.clone()).await {
            // The answer to a renewal was lost, or another one has the duty: the next renewal tells.
            Err(Error::Conflict { kind, .. }) if kind == DUTIES.name && self.renew().await? => self.commit_once(batch).await,
            Err(Error::Conflict { kind, .. }) if kind == DUTIES.name => Err(Error::unavailable("another process has begun to do the same")),
            committed => committed,
        }
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.inner.view().await
    }
}
