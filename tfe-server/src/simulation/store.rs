//! The store as one node reaches it: calls take time and may fail before or after they took effect.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use tfe_core::record::Kind;
use tfe_storage::{Batch, Error, Page, Query, Result, Store, StoredRecord, View};

use super::{clock::NodeClock, gate::Gate, mutation::Mutation, oracle::Committer, world::World};

/// How often others may go on before a call does, in a thousand.
const HOPS: u64 = 300;
/// How long a slow call takes, in milliseconds.
const SLOW: std::ops::Range<u64> = 1..2_500;

#[derive(Debug)]
pub(super) struct NodeStore {
    pub(super) world: Arc<World>,
    pub(super) node: String,
    pub(super) gate: Arc<Gate>,
    pub(super) clock: Arc<NodeClock>,
}

impl NodeStore {
    /// The way to the store or back.
    async fn travel(&self) {
        if self.world.chance.happens(HOPS) {
            Hop(false).await;
        }
        if self.world.strikes(|faults| faults.store_slow) {
            tokio::time::sleep(self.world.chance.time(SLOW)).await;
        }
        self.gate.pass().await;
    }

    async fn ask(&self) -> Result<()> {
        self.travel().await;
        if self.world.strikes(|faults| faults.store_away) { Err(away("the question is lost")) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for NodeStore {
    async fn get(&self, kind: &'static Kind, id: &str) -> Result<Option<StoredRecord>> {
        self.ask().await?;
        let mut answer = self.world.truth.get(kind, id).await;
        if let Some(record) = answer.as_mut().ok().and_then(Option::as_mut).filter(|_| self.world.is(Mutation::HeldLooksFree)) {
            record.body.as_object_mut().map(|body| ["lock", "current_run_id"].map(|field| body.remove(field)));
        }
        self.travel().await;
        answer
    }

    async fn query(&self, query: &Query) -> Result<Page> {
        self.ask().await?;
        self.world.looked(query);
        let answer = self.world.truth.query(query).await;
        self.travel().await;
        answer
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        self.ask().await?;
        if let Some(first) = batch.writes().first().filter(|_| self.world.strikes(|faults| faults.store_conflict)) {
            return Err(Error::Conflict { kind: first.kind().name, id: first.id().to_owned() });
        }
        let committer = Committer { node: self.node.clone(), latest: self.clock.latest() };
        let answer = self.world.commit(&committer, batch).await;
        self.travel().await;
        if self.world.strikes(|faults| faults.store_unanswered) { Err(away("the answer is lost")) } else { answer }
    }

    async fn view(&self) -> Result<Box<dyn View>> {
        self.ask().await?;
        self.world.truth.view().await
    }
}

fn away(what: &str) -> Error {
    Error::unavailable(format!("in this world {what}"))
}

/// Lets all others go on that can.
struct Hop(bool);

impl Future for Hop {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
