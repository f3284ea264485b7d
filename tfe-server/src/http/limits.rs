//! How often somebody may ask, counted over all nodes. When the counts cannot be had, everybody may: an outage of the
//! service that counts must not become one of the API.

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tfe_queue::{Count, Counters};

use super::peer::Peer;
use crate::{app::App, error::ApiError, service::tokens};

/// In what the limit of the API counts (contract, "429": requests in a second).
const WINDOW: Duration = Duration::from_secs(1);
/// In what tries to sign in count.
const SIGN_IN_WINDOW: Duration = Duration::from_mins(1);
/// How often one may try to sign in as one user in that time: more than a person mistypes, and too little to guess.
const MAX_SIGN_INS: u64 = 10;
/// What the limit counts: the API, without the uploads and logs that have signed addresses, and without workers.
const LIMITED: &str = "/api/v2/";

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Refuses requests of the API beyond the limit, and tells clients of it, if there is one.
pub(crate) async fn limited(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(limit) = app.settings.rate_limit.filter(|_| request.uri().path().starts_with(LIMITED)) else {
        return next.run(request).await;
    };
    let key = format!("requests:{}", caller(&request));
    let Some(count) = counted(&app, &key, WINDOW).await else { return next.run(request).await };
    let mut response = if count.count > limit { ApiError::TooMany.into_response() } else { next.run(request).await };
    tell(response.headers_mut(), limit, count);
    response
}

/// Says no to one who has tried to sign in as this user too often.
pub(crate) async fn check_sign_in(app: &App, username: &str) -> Result<(), ApiError> {
    let key = format!("sign-in:{}", tokens::digest(username));
    match counted(app, &key, SIGN_IN_WINDOW).await {
        Some(count) if count.count > MAX_SIGN_INS => Err(ApiError::TooMany),
        _ => Ok(()),
    }
}

async fn counted(app: &App, key: &str, window: Duration) -> Option<Count> {
    let counters: &dyn Counters = app.coordination.as_ref();
    counters.count(key, window).await.inspect_err(|error| tracing::debug!(%error, "requests cannot be counted; all are let through")).ok()
}

/// Who asks: by token, whose digest is as good as it, else by address.
fn caller(request: &Request) -> String {
    let token = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| std::str::from_utf8(value).ok());
    match (token, request.extensions().get::<Peer>()) {
        (Some(token), _) => tokens::digest(token),
        (None, Some(Peer(address))) => IpAddr::to_string(address),
        (None, None) => String::new(),
    }
}

/// Clients slow down by themselves when they know (contract, "X-RateLimit-Limit").
fn tell(headers: &mut HeaderMap, limit: u64, count: Count) {
    let values = [
        (LIMIT, limit.to_string()),
        (REMAINING, limit.saturating_sub(count.count).to_string()),
        (RESET, format!("{:.3}", count.ends_in.as_secs_f64())),
    ];
    for (name, value) in values {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}
