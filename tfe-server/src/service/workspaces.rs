//! Changing a workspace while runs change it too.

use tfe_core::workspace::Workspace;
use tfe_storage::{Batch, Error, StoreExt, Versioned};

use crate::{
    app::App,
    error::{ApiError, taken},
};

/// How often a change is decided anew because a run changed the workspace in between.
const MAX_ATTEMPTS: u32 = 20;

/// Changes a workspace by a rule, which is asked again when the workspace changed in between.
pub(crate) async fn change(
    app: &App,
    id: &str,
    rule: impl Fn(Workspace) -> Result<Workspace, ApiError>,
) -> Result<Versioned<Workspace>, ApiError> {
    for _ in 0..MAX_ATTEMPTS {
        let workspace = app.store.find::<Workspace>(id).await?.ok_or(ApiError::NotFound)?;
        let next = rule(workspace.record.clone())?;
        match app.store.commit(Batch::new().update(&workspace, &next)).await {
            Ok(()) => return Ok(Versioned { version: workspace.version + 1, record: next }),
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(taken(error)),
        }
    }
    Err(ApiError::Busy)
}
