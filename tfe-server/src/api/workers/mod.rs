//! The door for workers on other machines: `tfe_runner::control` over HTTP, as `tfe_runner::control::wire` describes it.
//!
//! Nothing is decided here. A worker's token says whose jobs it may take; every call about a job carries the run
//! token and the fencing token of its assignment, which `service::control` checks.

mod caller;
mod jobs;

use std::time::Duration;

use axum::{
    Json,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tfe_core::id::Id;
use tfe_runner::control::{Control, wire};

use self::caller::{Document, Worker, answered};
use crate::http::routes::Routes;

pub(crate) fn routes() -> Routes {
    Routes::new()
        .post("/api/worker/v1/claim", claim)
        .post("/api/worker/v1/leave", leave)
        .get("/api/worker/v1/runs/{run}/over", is_over)
        .and(jobs::routes())
}

async fn claim(worker: Worker, Document(claim): Document<wire::Claim>) -> Response {
    let wait = Duration::from_millis(claim.wait_millis.min(wire::MAX_WAIT_MILLIS));
    answered(worker.0.claim(&claim.runner, wait).await, |assignment| match assignment {
        Some(assignment) => Json(assignment).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn leave(worker: Worker, Document(caller): Document<wire::Caller>) -> Response {
    answered(worker.0.leave(&caller.runner).await, |()| StatusCode::NO_CONTENT.into_response())
}

async fn is_over(worker: Worker, Path(run): Path<String>) -> Response {
    answered(worker.0.is_over(&Id::from(run.as_str())).await, |over| Json(wire::Over { over }).into_response())
}
