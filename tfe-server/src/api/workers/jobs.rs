//! The calls about one job.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::Path,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tfe_core::{id::Id, log::MAX_CHUNK_BYTES};
use tfe_runner::{
    control::{ByteStream, Control, wire},
    job::{ArtifactKind, Directive, Outcome},
};

use super::caller::{Answer, Document, Holder, Worker, answered};
use crate::{
    error::ApiError,
    http::{body::upload, parameters::Parameters, routes::Routes},
};

/// How long an upload may be silent: as for clients.
const MAX_SILENCE: Duration = Duration::from_secs(30);
/// Largest piece of a log in one call: workers send far less at once.
const MAX_LOG_BYTES: u64 = 16 * MAX_CHUNK_BYTES as u64;
/// Largest state, sealed or not: what servers take by default, and a little for the seal.
const MAX_STATE_BYTES: u64 = (512 << 20) + 1024;

pub(super) fn routes() -> Routes {
    Routes::new()
        .post("/api/worker/v1/jobs/{job}/adopt", adopt)
        .put("/api/worker/v1/jobs/{job}/late-state", bring_late_state)
        .post("/api/worker/v1/jobs/{job}/heartbeat", heartbeat)
        .post("/api/worker/v1/jobs/{job}/directive", await_directive)
        .get("/api/worker/v1/jobs/{job}/configuration", configuration)
        .get("/api/worker/v1/jobs/{job}/state", state)
        .put("/api/worker/v1/jobs/{job}/state", save_state)
        .get("/api/worker/v1/jobs/{job}/artifacts/{kind}", artifact)
        .put("/api/worker/v1/jobs/{job}/artifacts/{kind}", save_artifact)
        .get("/api/worker/v1/jobs/{job}/log", log_length)
        .post("/api/worker/v1/jobs/{job}/log", append_log)
        .post("/api/worker/v1/jobs/{job}/report", report)
}

async fn adopt(worker: Worker, Path(job): Path<String>, Document(caller): Document<wire::Caller>) -> Response {
    answered(worker.0.adopt(&caller.runner, &Id::from(job.as_str())).await, |assignment| Json(assignment).into_response())
}

async fn bring_late_state(worker: Worker, Path(job): Path<String>, body: Body) -> Answer {
    let sealed = whole(body, MAX_STATE_BYTES).await?;
    Ok(answered(worker.0.bring_late_state(&Id::from(job.as_str()), sealed).await, done))
}

async fn heartbeat(holder: Holder) -> Response {
    answered(holder.control.heartbeat(&holder.ticket).await, wanted)
}

async fn await_directive(holder: Holder, Document(wait): Document<wire::Wait>) -> Response {
    let wait = Duration::from_millis(wait.wait_millis.min(wire::MAX_WAIT_MILLIS));
    answered(holder.control.await_directive(&holder.ticket, wait).await, wanted)
}

async fn configuration(holder: Holder) -> Response {
    answered(holder.control.configuration(&holder.ticket).await, |content| Body::from_stream(content).into_response())
}

async fn state(holder: Holder) -> Response {
    answered(holder.control.state(&holder.ticket).await, |state| match state {
        Some(state) => state.into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn save_state(holder: Holder, body: Body) -> Answer {
    let content = whole(body, MAX_STATE_BYTES).await?;
    Ok(answered(holder.control.save_state(&holder.ticket, content).await, done))
}

async fn artifact(holder: Holder, Path((_, kind)): Path<(String, String)>) -> Answer {
    let kind = ArtifactKind::parse(&kind).ok_or(ApiError::NotFound)?;
    Ok(answered(holder.control.artifact(&holder.ticket, kind).await, |content| match content {
        Some(content) => Body::from_stream(content).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }))
}

async fn save_artifact(holder: Holder, Path((_, kind)): Path<(String, String)>, body: Body) -> Answer {
    let kind = ArtifactKind::parse(&kind).ok_or(ApiError::NotFound)?;
    let content: ByteStream = upload(body, MAX_SILENCE).boxed();
    Ok(answered(holder.control.save_artifact(&holder.ticket, kind, content).await, done))
}

async fn log_length(holder: Holder) -> Response {
    answered(holder.control.log_length(&holder.ticket).await, |bytes| Json(wire::Length { bytes }).into_response())
}

async fn append_log(holder: Holder, parameters: Parameters, body: Body) -> Answer {
    let offset = parameters.get("offset").and_then(|offset| offset.parse().ok());
    let offset = offset.ok_or_else(|| ApiError::BadRequest("offset must be a number of bytes".to_owned()))?;
    let content = whole(body, MAX_LOG_BYTES).await?;
    Ok(answered(holder.control.append_log(&holder.ticket, offset, content).await, done))
}

async fn report(holder: Holder, Document(outcome): Document<Outcome>) -> Response {
    answered(holder.control.report(&holder.ticket, outcome).await, done)
}

fn done((): ()) -> Response {
    StatusCode::NO_CONTENT.into_response()
}

fn wanted(directive: Directive) -> Response {
    Json(wire::Wanted { directive }).into_response()
}

async fn whole(body: Body, limit_bytes: u64) -> Result<Bytes, ApiError> {
    let mut content = Vec::new();
    let mut parts = upload(body, MAX_SILENCE);
    while let Some(part) = parts.try_next().await.map_err(|_| ApiError::Stalled)? {
        if (content.len() + part.len()) as u64 > limit_bytes {
            return Err(ApiError::TooLarge { limit_bytes });
        }
        content.extend_from_slice(&part);
    }
    Ok(content.into())
}
