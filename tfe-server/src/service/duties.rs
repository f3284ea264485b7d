//! Taking duties: which node does which background work now.

use tfe_core::{duty::Duty, id::Id, time::Timestamp};
use tfe_storage::{Batch, Error, Store, StoreExt, Versioned};

use crate::{app::App, error::ApiError};

/// How much of a lease passes before it is renewed, in milliseconds.
const RENEWAL_MILLIS: u64 = 900;

/// Takes or renews a duty for this node. None while another node has it.
pub(crate) async fn hold(app: &App, name: &str) -> Result<Option<Versioned<Duty>>, ApiError> {
    Ok(take(&*app.store, name, &app.settings.node, app.started_at, app.now()).await?)
}

/// The same for a node that serves nothing yet.
pub(crate) async fn take(
    store: &dyn Store,
    name: &str,
    holder: &str,
    process: Timestamp,
    now: Timestamp,
) -> tfe_storage::Result<Option<Versioned<Duty>>> {
    let present = store.find::<Duty>(Duty::id_of(name).as_str()).await?;
    let Some(duty) = Duty::taken(present.as_deref(), name, holder, process, now) else { return Ok(None) };
    if let Some(present) = present.as_ref().filter(|present| is_fresh(present, &duty)) {
        return Ok(Some(present.clone()));
    }
    let (batch, version) = match &present {
        Some(present) => (Batch::new().update(present, &duty), present.version + 1),
        None => (Batch::new().insert(&duty), tfe_storage::FIRST_VERSION),
    };
    match store.commit(batch).await {
        Ok(()) => Ok(Some(Versioned { version, record: duty })),
        // Another node was faster.
        Err(Error::Conflict { .. } | Error::AlreadyExists { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether renewing is not worth a write yet.
fn is_fresh(present: &Duty, renewed: &Duty) -> bool {
    let is_same = present.holder == renewed.holder && present.process == renewed.process && present.since == renewed.since;
    is_same && renewed.expires_at.millis_since(present.expires_at) < RENEWAL_MILLIS
}

/// Gives a duty back, so that another node need not wait for the end of its lease.
pub(crate) async fn give_up(app: &App, name: &str) -> Result<(), ApiError> {
    let id: Id<Duty> = Duty::id_of(name);
    let Some(present) = app.store.find::<Duty>(id.as_str()).await? else { return Ok(()) };
    if present.holder != app.settings.node || present.process != app.started_at {
        return Ok(());
    }
    let ended = Duty { expires_at: app.now(), ..present.record.clone() };
    match app.store.commit(Batch::new().update(&present, &ended)).await {
        Ok(()) | Err(Error::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
