//! What happens around every request: a number for the log, and headers that clients look for.

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tfe_core::id::random_text;
use tracing::Instrument;

use crate::app::App;

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

/// Signed addresses are permissions and do not belong into a log.
fn redacted(path: &str) -> &str {
    if path.starts_with("/_signed/") { "/_signed/…" } else { path }
}
