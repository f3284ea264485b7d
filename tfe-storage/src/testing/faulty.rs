//! A store that fails when it is told to, for tests of what happens then.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tfe_core::record::Kind;

use crate::{Batch, Error, Page, Query, Result, Store, StoredRecord, View};

/// Passes everything on to another store, except for the commit that is to fail.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    next: Mutex<Option<Fault>>,
}

/// How a commit fails. In both cases the caller is told that the store is unavailable and cannot know which it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The batch did not arrive.
    Lost,
    /// The batch was committed, and the answer did not arrive.
    Unanswered,
}

impl<S: Store> Faulty<S> {
    /// A store that does not fail yet.
    pub fn new(inner: S) -> Self {
        Self { inner, next: Mutex::default() }
    }

    /// Makes the next commit fail.
    pub fn fail_next(&self, fault: Fault) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    fn take_fault(&self) -> Option<Fault> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl<S: Store> Store for Faulty<S> {
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>> {
        self.inner.get(kind, id).await
    }

    async fn query(&self, query: &Query) -> Result<Page> {
        self.inner.query(query).await
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        let fault = self.take_fault();
        if fault != Some(Fault::Lost) {
            self.inner.commit(batch).await?;
        }
        fault.map_or(Ok(()), |fault| Err(Error::unavailable(format!("the test wants this commit to be {fault:?}"))))
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.inner.view().await
    }
}
