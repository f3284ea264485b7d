//! Sealing everything anew after a key was rotated, while the system works, a step in each round of the reconciler.

use tfe_core::{KINDS, record::Kind, rewrap::Rewrap};
use tfe_storage::{
    Batch, Error, StoreExt, Versioned,
    fail_point::{RESEALING_BEGUN, RESEALING_NOTED, RESEALING_PAGE},
    rewrap_page,
};

use crate::{
    app::App,
    error::{ApiError, chain},
};

/// Steps in one round of the reconciler, so that it does not keep runs waiting.
const STEPS: u32 = 5;

/// Begins, or begins anew from the first record.
pub(crate) async fn begin(app: &App) -> Result<Rewrap, ApiError> {
    let present = progress(app).await?;
    let (now, created_at) = (app.now(), present.as_ref().map_or_else(|| app.now(), |present| present.created_at));
    let first = next_kind(None).map(|kind| kind.name.to_owned()).unwrap_or_default();
    let (id, error) = (Rewrap::only_id(), None);
    let next = Rewrap { id, created_at, started_at: now, finished_at: None, kind: first, after: None, seen: 0, changed: 0, error };
    let batch = match &present {
        Some(present) => Batch::new().update(present, &next),
        None => Batch::new().insert(&next),
    };
    app.store.commit(batch).await?;
    RESEALING_BEGUN.reach();
    Ok(next)
}

/// How far it is; none if there never was one.
pub(crate) async fn progress(app: &App) -> Result<Option<Versioned<Rewrap>>, ApiError> {
    Ok(app.store.find::<Rewrap>(Rewrap::only_id().as_str()).await?)
}

/// Goes on with what was begun. Several nodes may do this at once: what one has sealed anew the others leave.
pub(crate) async fn go_on(app: &App) -> Result<(), ApiError> {
    for _ in 0..STEPS {
        let Some(present) = progress(app).await?.filter(|present| present.finished_at.is_none()) else { return Ok(()) };
        let next = step(app, &present).await;
        let failed = next.error.is_some();
        RESEALING_PAGE.reach();
        if next != present.record {
            match app.store.commit(Batch::new().update(&present, &next)).await {
                Ok(()) | Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            RESEALING_NOTED.reach();
        }
        if failed {
            return Ok(());
        }
    }
    Ok(())
}

async fn step(app: &App, present: &Rewrap) -> Rewrap {
    let mut next = Rewrap { error: None, ..present.clone() };
    let Some(kind) = KINDS.iter().copied().find(|kind| kind.name == present.kind) else {
        next.finished_at = Some(app.now());
        return next;
    };
    match rewrap_page(app.store.as_ref(), app.vault.as_ref(), kind, present.after.as_deref()).await {
        Err(error) => next.error = Some(chain(&error)),
        Ok(done) => {
            next.seen += done.seen;
            next.changed += done.changed;
            next.after = done.last;
            if next.after.is_none() {
                next.kind = next_kind(Some(kind)).map(|kind| kind.name.to_owned()).unwrap_or_default();
            }
        }
    }
    next
}

/// The first kind with sealed values, or the one after `kind`.
fn next_kind(kind: Option<&'static Kind>) -> Option<&'static Kind> {
    let begin = kind.and_then(|kind| KINDS.iter().position(|other| other.name == kind.name)).map_or(0, |index| index + 1);
    KINDS[begin..].iter().copied().find(|kind| !kind.seals.is_empty())
}
