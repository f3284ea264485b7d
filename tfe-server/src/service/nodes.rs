//! What this node tells of itself, and what operators tell it.

use std::time::Duration;

use tfe_core::{
    agent::FLEET,
    duty::Duty,
    node::{HEARTBEAT_SECONDS, Node},
};
use tfe_storage::{Batch, Error, Query, StoreExt, Versioned};
use tokio_util::sync::CancellationToken;

use super::waiting;
use crate::{
    app::App,
    error::{ApiError, chain},
};

/// The name of the loop that tells of this node, for those who watch over it.
pub(crate) const LOOP: &str = "node";
/// Most nodes that are listed: far more than one database can serve.
const MAX_NODES: u64 = 1_000;
/// How often a note is tried when others write it at the same time.
const MAX_ATTEMPTS: u32 = 20;

/// Tells of this node and obeys operators until `shutdown`, and then that it leaves.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    let interval = Duration::from_secs(HEARTBEAT_SECONDS.unsigned_abs());
    while !app.health.is_handed_over() {
        app.health.loops.turned(LOOP);
        match tell(&app, shutdown.is_cancelled()).await {
            Ok(node) => app.health.set_draining(shutdown.is_cancelled() || node.drain_requested),
            Err(error) => tracing::debug!(error = chain(&error), "this node could not tell of itself"),
        }
        if shutdown.is_cancelled() {
            return;
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => app.health.set_draining(!app.health.is_handed_over()),
            () = tokio::time::sleep(interval) => {}
        }
    }
    // Once another process is this node, this one has nothing to tell.
    shutdown.cancelled().await;
}

/// All nodes that were there lately.
pub(crate) async fn list(app: &App) -> Result<Vec<Versioned<Node>>, ApiError> {
    Ok(app.store.list::<Node>(Query::of::<Node>().limit(MAX_NODES)).await?.items)
}

/// Asks a node to take no new work, or to take it again.
pub(crate) async fn request_drain(app: &App, name: &str, drain: bool) -> Result<Node, ApiError> {
    let node = app.store.find_by::<Node>("name", name).await?.ok_or(ApiError::NotFound)?;
    let changed = app.store.update::<Node>(node.id.as_str(), |node| Node { drain_requested: drain, ..node }).await?;
    Ok(changed.into_record())
}

/// Forgets nodes that have been gone for long, as a part of that duty.
pub(crate) async fn forget(app: &App, duty: &Versioned<Duty>) -> Result<(), ApiError> {
    let now = app.now();
    let batch = list(app).await?.iter().filter(|node| node.is_forgotten(now)).fold(Batch::new(), Batch::delete);
    if batch.is_empty() {
        return Ok(());
    }
    match app.store.commit(Batch::new().check(duty).and(batch)).await {
        Ok(()) | Err(Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How many jobs this node's own runner has.
pub async fn own_jobs(app: &App) -> Result<usize, ApiError> {
    let claimed = waiting::at_work_in(app, FLEET).await?;
    Ok(claimed.iter().filter(|job| job.lease.as_ref().is_some_and(|lease| lease.holder == app.settings.node)).count())
}

async fn tell(app: &App, left: bool) -> Result<Node, ApiError> {
    for _ in 0..MAX_ATTEMPTS {
        let known = app.store.find_by::<Node>("name", &app.settings.node).await?;
        let node = present(app, known.as_deref(), left);
        let batch = match &known {
            Some(known) => Batch::new().update(known, &node),
            None => Batch::new().insert(&node),
        };
        match app.store.commit(batch).await {
            Ok(()) => return Ok(node),
            Err(Error::Conflict { .. } | Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Busy)
}

fn present(app: &App, known: Option<&Node>, left: bool) -> Node {
    let condition = app.health.report().map_or("unknown".to_owned(), |report| format!("{:?}", report.condition()).to_uppercase());
    Node {
        id: known.map_or_else(|| app.new_id(), |node| node.id.clone()),
        created_at: known.map_or_else(|| app.now(), |node| node.created_at),
        name: app.settings.node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: app.started_at,
        last_seen_at: app.now(),
        // A node that was drained and restarted stays drained until somebody says otherwise.
        drain_requested: known.is_some_and(|node| node.drain_requested),
        left,
        condition,
    }
}
