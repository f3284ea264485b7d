//! What follows from a restore: runs that were in flight end, workers from before are fenced, and nothing is applied without a
//! person until an operator says so.

use tfe_core::{
    agent::Agent,
    duty::Duty,
    installation::{Installation, Restoration},
    job::Job,
    node::Node,
    run::{Event, PhaseResult, Run, Status},
};
use tfe_storage::{Batch, Query, StoreExt, Versioned};

use super::runs;
use crate::{app::App, error::ApiError};

/// Records that are looked at at once.
const PAGE: u64 = 500;
/// How often what is in flight is looked at anew since the installation changed: others change it a few times at most.
const MAX_ATTEMPTS: u32 = 20;

/// The restore that this installation comes from, if any.
pub(crate) async fn restoration(app: &App) -> Result<Option<Restoration>, ApiError> {
    Ok(installation(app).await?.and_then(|installation| installation.restoration))
}

/// Lets runs apply by themselves again.
pub(crate) async fn resume(app: &App) -> Result<Option<Restoration>, ApiError> {
    change(app, |restoration| restoration.applies_paused = false).await?;
    restoration(app).await
}

/// Why plans wait for a person even if their runs would apply them by themselves; none if they do not.
pub(crate) async fn pause(app: &App) -> Result<Option<String>, ApiError> {
    let reason = "automatic applies are paused since this installation was restored; confirm this run, or resume them all with: \
                  tfe admin restoration --resume";
    Ok(is_paused(app).await?.then(|| reason.to_owned()))
}

/// The run, not to be applied by itself if that is paused.
pub(crate) async fn held(app: &App, run: &Versioned<Run>, event: &Event) -> Result<Run, ApiError> {
    let mut held = run.record.clone();
    let would_go_on = matches!(event, Event::Ended(PhaseResult::Finished(_))) && run.status == Status::Planning;
    if would_go_on && held.options.auto_apply && is_paused(app).await? {
        tracing::info!(run = %run.id, "automatic applies are paused since the restore; the run waits for a person");
        held.options.auto_apply = false;
    }
    Ok(held)
}

/// Ends what was in flight in the snapshot, once. Stopped at any point it goes on at the next start; until it is done no server
/// works on the installation.
pub(crate) async fn settle(app: &App) -> Result<(), ApiError> {
    for _ in 0..MAX_ATTEMPTS {
        let present = app.store.find::<Installation>(Installation::only_id().as_str()).await?;
        let Some(installation) = present.filter(|installation| is_unsettled(installation)) else { return Ok(()) };
        if settle_from(app, &installation).await? {
            return Ok(());
        }
    }
    Err(ApiError::Busy)
}

fn is_unsettled(installation: &Installation) -> bool {
    installation.restoration.as_ref().is_some_and(|restoration| !restoration.is_settled)
}

/// The same from the installation as it was read, which each commit checks: another node may be through with it and at work, and what
/// is in flight then is its own. False if so.
async fn settle_from(app: &App, installation: &Versioned<Installation>) -> Result<bool, ApiError> {
    let Some(restoration) = &installation.restoration else { return Ok(true) };
    let is_same =
        forget::<Duty>(app, installation).await? && forget::<Node>(app, installation).await? && forget::<Agent>(app, installation).await?;
    if !is_same {
        return Ok(false);
    }
    let mut ended = 0_u64;
    for status in Status::ALL.into_iter().filter(|status| !status.is_final() && *status != Status::Pending) {
        loop {
            let runs = app.store.list::<Run>(Query::of::<Run>().equals("status", status).limit(PAGE)).await?.items;
            for run in &runs {
                if !end(app, installation, restoration, run).await? {
                    return Ok(false);
                }
                ended += 1;
            }
            if (runs.len() as u64) < PAGE {
                break;
            }
        }
    }
    let settled = Restoration { is_settled: true, ..restoration.clone() };
    let settled = Installation { restoration: Some(settled), ..installation.record.clone() };
    match app.store.commit(Batch::new().update(installation, &settled)).await {
        Ok(()) => {}
        Err(tfe_storage::Error::Conflict { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    tracing::warn!(ended, reached = %restoration.reached, "this installation was restored; runs that were in flight have ended");
    Ok(true)
}

/// Ends a run. False if the installation is another by now.
async fn end(app: &App, installation: &Versioned<Installation>, restoration: &Restoration, run: &Versioned<Run>) -> Result<bool, ApiError> {
    if !fence(app, installation, run).await? {
        return Ok(false);
    }
    let event = Event::Restored { reached: restoration.reached };
    match runs::step(app, &run.id, &event, None, Batch::new().check(installation)).await {
        // Another node, which settles too, was faster.
        Ok(_) | Err(ApiError::Refused(_)) => Ok(true),
        Err(ApiError::Busy) if !is_still(app, installation).await? => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the workers of these jobs still send is refused: their tokens mean nothing, and what they spooled opens for nobody.
async fn fence(app: &App, installation: &Versioned<Installation>, run: &Run) -> Result<bool, ApiError> {
    let mut batch = Batch::new();
    for job in runs::jobs(app, run).await? {
        let mut key = [0_u8; tfe_core::cipher::KEY_LENGTH];
        app.entropy.fill(&mut key);
        let spool_key = app.vault.seal(&Job::SPOOL_KEY.context(&job.id), &key).await?;
        let fenced = Job { spool_key, token_digest: None, fencing_token: job.fencing_token + 1, ..job.record.clone() };
        batch = batch.update(&job, fenced);
    }
    commit(app, installation, batch).await
}

/// Nobody is left who wrote these.
async fn forget<T: tfe_core::record::Record>(app: &App, installation: &Versioned<Installation>) -> Result<bool, ApiError> {
    let records = app.store.list::<T>(Query::of::<T>().limit(PAGE)).await?.items;
    commit(app, installation, records.iter().fold(Batch::new(), Batch::delete)).await
}

/// Commits unless the installation is another by now, which gives false.
async fn commit(app: &App, installation: &Versioned<Installation>, batch: Batch) -> Result<bool, ApiError> {
    match app.store.commit(batch.check(installation)).await {
        Ok(()) => Ok(true),
        // Another node that settles too was faster, or it has ended and works.
        Err(tfe_storage::Error::Conflict { .. }) => is_still(app, installation).await,
        Err(error) => Err(error.into()),
    }
}

async fn is_still(app: &App, installation: &Versioned<Installation>) -> Result<bool, ApiError> {
    let now = app.store.find::<Installation>(Installation::only_id().as_str()).await?;
    Ok(now.is_some_and(|now| now.version == installation.version))
}

async fn is_paused(app: &App) -> Result<bool, ApiError> {
    Ok(installation(app).await?.is_some_and(|installation| installation.applies_paused()))
}

/// None where an embedder made none, who then restores nothing either.
async fn installation(app: &App) -> Result<Option<Installation>, ApiError> {
    Ok(app.store.find::<Installation>(Installation::only_id().as_str()).await?.map(Versioned::into_record))
}

async fn change(app: &App, change: impl Fn(&mut Restoration) + Send + Sync) -> Result<(), ApiError> {
    let changed = |mut installation: Installation| {
        if let Some(restoration) = &mut installation.restoration {
            change(restoration);
        }
        installation
    };
    app.store.update(Installation::only_id().as_str(), changed).await?;
    Ok(())
}
