//! Whether this node works, for load balancers and people. No token is needed and nothing is asked on the way: the
//! answer is what the background last found.

use std::{fmt::Write, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    app::App,
    error::ApiError,
    health::{Condition, Report},
    http::{parameters::Parameters, routes::Routes},
};

/// How long to wait for the first report, in seconds, unless the client says; and the most that it can say
/// (Terraform Enterprise, "Readiness").
const DEFAULT_TIMEOUT_SECONDS: u64 = 1;
const MAX_TIMEOUT_SECONDS: u64 = 30;

pub(crate) fn routes() -> Routes {
    Routes::new().get("/api/v1/health/readiness", readiness).get("/api/v1/health/liveness", liveness).get("/_health_check", readiness)
}

/// 200 if the node works, 503 if a part does not or if it is about to end.
async fn readiness(State(app): State<App>, parameters: Parameters, headers: HeaderMap) -> Result<Response, ApiError> {
    let report = app.health.first_report(timeout(&parameters)?).await;
    let report = report.ok_or_else(|| ApiError::Unavailable("the parts have not been asked yet".into()))?;
    let condition = report.condition();
    let status = if condition == Condition::Ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let wants_text = headers.get(header::ACCEPT).is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    if wants_text {
        return Ok((status, text(&report)).into_response());
    }
    let body = json!({ "node": report.node, "status": condition, "checks": report.checks });
    Ok((status, Json(body)).into_response())
}

/// 200 as long as the process answers at all.
async fn liveness() -> &'static str {
    "OK\n"
}

fn timeout(parameters: &Parameters) -> Result<Duration, ApiError> {
    let wrong = || ApiError::BadRequest(format!("timeout is a number of seconds from 1 to {MAX_TIMEOUT_SECONDS}"));
    let seconds = parameters.get("timeout").map_or(Ok(DEFAULT_TIMEOUT_SECONDS), |text| text.parse().map_err(|_| wrong()))?;
    if (1..=MAX_TIMEOUT_SECONDS).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err(wrong()) }
}

fn text(report: &Report) -> String {
    let word = |condition: Condition| format!("{condition:?}").to_uppercase();
    let mut text = format!("{}: {}\n", report.node, word(report.condition()));
    for check in &report.checks {
        let reason = check.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let _ = writeln!(text, "{}: {}{reason}", check.name, word(check.condition));
    }
    text
}
