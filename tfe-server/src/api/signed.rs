//! Logs, read by whoever has the address.

use std::time::Duration;

use axum::{
    extract::{Path, State},
    http::{HeaderName, HeaderValue, header},
    response::IntoResponse,
};
use tfe_core::run::{Phase, Run};
use tfe_storage::StoreExt;

use crate::{
    app::App,
    error::{ApiError, Reply},
    http::{
        parameters::Parameters,
        peer::IsFirst,
        routes::Routes,
        signed::{Permit, Purpose},
    },
    service::{logs, runs::log_topic},
};

/// Largest part in one answer: the CLI's buffer; what does not fit into one read of a socket it asks for again.
const MAX_PART_BYTES: usize = 64 * 1024;
/// How long a reader waits for news: the CLI bears 12 s (contract 1.5), and pages leave sooner.
const MAX_WAIT: Duration = Duration::from_secs(5);

pub(crate) fn routes() -> Routes {
    Routes::new().get("/_signed/log/{id}/{until}/{mac}", read)
}

/// A part of a log; waits for one if there is none yet, unless the connection is new. Always 200, since anything else ends
/// the CLI's reader.
async fn read(State(app): State<App>, Path(permit): Path<Permit>, IsFirst(is_first): IsFirst, parameters: Parameters) -> Reply {
    app.signer.check(Purpose::LogRead, &permit, app.now())?;
    let number = |name| parameters.get(name).and_then(|value| value.parse::<u64>().ok());
    let offset = number("offset").unwrap_or(0);
    let limit = number("limit").and_then(|limit| usize::try_from(limit).ok()).unwrap_or(MAX_PART_BYTES).min(MAX_PART_BYTES);
    let deadline = tokio::time::Instant::now() + if is_first { Duration::ZERO } else { MAX_WAIT };
    loop {
        let mut watch = app.coordination.watch(&log_topic(&permit.id));
        let (run, phase) = find(&app, &permit.id).await?;
        let part = logs::read(&app, &run, phase, offset, limit).await?;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !part.bytes.is_empty() || !part.is_open || left.is_zero() {
            return Ok((headers(), part.bytes).into_response());
        }
        watch.changed(left).await;
    }
}

async fn find(app: &App, id: &str) -> Result<(Run, Phase), ApiError> {
    let (field, phase) = if id.starts_with("plan-") { ("plan_id", Phase::Plan) } else { ("apply_id", Phase::Apply) };
    let run = app.store.find_by::<Run>(field, id).await?.ok_or(ApiError::NotFound)?;
    Ok((run.into_record(), phase))
}

fn headers() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]
}
