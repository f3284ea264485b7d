//! What happens around every request: a number for the log, and headers that clients look for.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tfe_core::id::random_text;
use tracing::Instrument;

use crate::{app::App, error::ApiError};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives the request a number, in the answer and on each line that it logs.
pub(crate) async fn numbered(State(app): State<App>, request: Request, next: Next) -> Response {
    let id = random_text(app.entropy.as_ref(), 12);
    let span = tracing::info_span!("request", id, method = %request.method(), path = redacted(request.uri().path()));
    let mut response = next.run(request).instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// What a request may do although the disk is full: save states, free locks, end runs, and delete.
const ALLOWED_WHEN_FULL: [&str; 6] = [
    "/state-versions",
    "/_signed/state-upload/",
    "/_signed/json-state-upload/",
    "/actions/unlock",
    "/actions/cancel",
    "/actions/force-cancel",
];

/// Keeps the last space on a full disk for the work in progress: whoever would begin something new gets 507.
pub(crate) async fn refuse_when_full(State(app): State<App>, request: Request, next: Next) -> Response {
    let begins = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    let is_allowed = ALLOWED_WHEN_FULL.iter().any(|part| request.uri().path().contains(part));
    match app.health.full_disk().filter(|_| begins && !is_allowed) {
        Some(reason) => ApiError::Full(reason.into()).into_response(),
        None => next.run(request).await,
    }
}

/// Counts the request under its route, which is a pattern: paths would be without number.
pub(crate) async fn measured(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let (method, begun) = (request.method().clone(), Instant::now());
    let response = next.run(request).await;
    app.metrics.request(method.as_str(), &route, response.status().as_u16(), begun.elapsed());
    response
}

/// Signed addresses are permissions and do not belong into a log.
fn redacted(path: &str) -> &str {
    if path.starts_with("/_signed/") { "/_signed/…" } else { path }
}
