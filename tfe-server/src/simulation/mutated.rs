//! Background loops with a defect, beside or instead of the right ones.

use std::time::Duration;

use tfe_core::{job::Job, run::Event};
use tfe_storage::{Batch, Query, StoreExt};

use super::mutation::Mutation;
use crate::{
    app::App,
    error::ApiError,
    service::{duties, runs},
};

/// How often the loops look.
const TICK: Duration = Duration::from_secs(1);

/// The loop of a mutation, if it is one of a loop.
pub(super) async fn run(app: App, mutation: Mutation) {
    loop {
        // What fails is tried again, as the right loop does.
        let _ = match mutation {
            Mutation::NoGrace => give_up_early(&app).await,
            Mutation::NoDuty => give_up(&app, |job| job.is_given_up(app.now())).await,
            _ => return,
        };
        tokio::time::sleep(TICK).await;
    }
}

async fn give_up_early(app: &App) -> Result<(), ApiError> {
    match duties::hold(app, "reconciler").await? {
        Some(_) => give_up(app, |job| job.is_lost(app.now())).await,
        None => Ok(()),
    }
}

async fn give_up(app: &App, is_given_up: impl Fn(&Job) -> bool) -> Result<(), ApiError> {
    let claimed = app.store.list::<Job>(Query::of::<Job>().equals("status", "claimed")).await?.items;
    for job in claimed.iter().filter(|job| is_given_up(job)) {
        runs::step(app, &job.run_id, &Event::RunnerLost { retry: true }, None, Batch::new().check(job)).await?;
    }
    Ok(())
}
