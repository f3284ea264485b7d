//! Fetching over HTTP. What comes is verified later, by others; here it only has to come whole.

use std::time::Duration;

use reqwest::{Client, StatusCode, redirect::Policy};
use url::Url;

use super::{
    error::ToolError,
    location::{Location, Sink},
};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing may come.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many redirections are followed: vendors send to their content networks, in one or two steps.
const MAX_REDIRECTS: usize = 5;
/// How often a transfer is begun in all: one that broke off twice will not be whole the fourth time.
const MAX_ATTEMPTS: u32 = 3;
/// The pause between them.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes what is at the URL into the sink; false if nothing is there.
pub(super) async fn get(url: &Url, sink: &mut impl Sink, limit_bytes: u64, place: &Location) -> Result<bool, ToolError> {
    let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENCE_TIMEOUT).redirect(Policy::limited(MAX_REDIRECTS));
    let client = client.build().map_err(|error| unreachable(place, &error.to_string()))?;
    let mut attempts = 1;
    loop {
        match attempt(&client, url, sink, limit_bytes, place).await {
            Err(ToolError::Unavailable(reason)) if attempts < MAX_ATTEMPTS => {
                tracing::warn!(reason, "an engine could not be fetched; trying again");
                attempts += 1;
                sink.restart()?;
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

async fn attempt(client: &Client, url: &Url, sink: &mut impl Sink, limit_bytes: u64, place: &Location) -> Result<bool, ToolError> {
    let broken = |error: reqwest::Error| unreachable(place, &causes(&error.without_url()));
    let mut response = client.get(url.clone()).send().await.map_err(broken)?;
    match response.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(false),
        status if !status.is_success() => return Err(unreachable(place, &format!("it answered {status}"))),
        _ => {}
    }
    let mut received = 0;
    while let Some(part) = response.chunk().await.map_err(broken)? {
        received += part.len() as u64;
        if received > limit_bytes {
            return Err(place.too_large(limit_bytes));
        }
        sink.write_all(&part)?;
    }
    Ok(true)
}

fn unreachable(place: &Location, reason: &str) -> ToolError {
    ToolError::Unavailable(format!(
        "{place} could not be fetched ({reason}); try again, or ask the operator of the runner to install the engine"
    ))
}

fn causes(error: &reqwest::Error) -> String {
    tfe_core::error::chain(error)
}
