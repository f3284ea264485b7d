//! Whose writes count: what a runner sends is committed together with its claim, so that one who has lost the job while its call
//! was on the way writes nothing.

use tfe_core::job::{Job, JobStatus};
use tfe_storage::{Batch, StoreExt, Versioned};

use crate::{app::App, error::ApiError};

/// A claim in force when it was looked at last.
#[derive(Debug)]
pub(crate) struct Fence {
    job: Box<Versioned<Job>>,
}

impl Fence {
    /// That of a job whose ticket was checked.
    pub(crate) fn of(job: Versioned<Job>) -> Self {
        Self { job: Box::new(job) }
    }

    /// Begins a batch that is committed only if nothing has happened to the job.
    pub(crate) fn batch(&self) -> Batch {
        Batch::new().check(&self.job)
    }

    /// Looks again, since something has happened: mostly the lease was renewed. [`ApiError::NotFound`] if the claim is not in
    /// force any more.
    pub(crate) async fn renew(&mut self, app: &App) -> Result<(), ApiError> {
        let present = app.store.find::<Job>(self.job.id.as_str()).await?;
        let is_in_force = |job: &Versioned<Job>| job.status == JobStatus::Claimed && job.fencing_token == self.job.fencing_token;
        *self.job = present.filter(is_in_force).ok_or(ApiError::NotFound)?;
        Ok(())
    }
}
