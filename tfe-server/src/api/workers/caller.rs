//! Who calls, and how answers look.

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use tfe_core::{agent::FLEET, error::chain, id::Id, secret::Secret};
use tfe_runner::control::{ControlError, Ticket, wire};

use crate::{
    app::App,
    error::ApiError,
    http::{body, peer::Peer},
    service::{control::LocalControl, tokens},
};

/// What a handler returns that can fail before the call.
pub(super) type Answer = Result<Response, ApiError>;

/// A worker with a token of its own, and the door to the jobs that it may take.
pub(super) struct Worker(pub(super) LocalControl);

/// A worker that speaks for a job, with its right to.
pub(super) struct Holder {
    pub(super) control: LocalControl,
    pub(super) ticket: Ticket,
}

/// A JSON document that is not JSON:API.
pub(super) struct Document<T>(pub(super) T);

impl FromRequestParts<App> for Worker {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers)?;
        let queue = tokens::authenticate_worker(app, token.expose()).await?.ok_or(ApiError::Unauthorized)?;
        Ok(Self(LocalControl::of_queue(app.clone(), queue, address(parts))))
    }
}

impl FromRequestParts<App> for Holder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let run_token = bearer(&parts.headers)?;
        let fencing_token = parts.headers.get(wire::FENCING_TOKEN).and_then(|value| value.to_str().ok()?.parse().ok());
        let fencing_token = fencing_token.ok_or_else(|| ApiError::BadRequest(format!("{} is missing", wire::FENCING_TOKEN)))?;
        let path = Path::<std::collections::HashMap<String, String>>::from_request_parts(parts, app).await;
        let job = path.ok().and_then(|Path(mut names)| names.remove("job")).ok_or(ApiError::NotFound)?;
        let ticket = Ticket { job: Id::from(job.as_str()), fencing_token, run_token };
        // Which queue does not matter here: the ticket is checked for the job itself.
        let control = LocalControl::of_queue(app.clone(), FLEET.to_owned(), address(parts));
        Ok(Self { control, ticket })
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Document<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let body::Document(bytes) = body::Document::from_request(request, app).await?;
        // What was sent is not shown: it may hold secrets.
        let read = serde_json::from_slice(&bytes);
        read.map(Self).map_err(|_| ApiError::BadRequest("the document cannot be read; are worker and server of one release?".to_owned()))
    }
}

/// The answer to a call.
pub(super) fn answered<T>(result: Result<T, ControlError>, done: impl FnOnce(T) -> Response) -> Response {
    let status = |code| StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match result {
        Ok(value) => done(value),
        Err(ControlError::Fenced) => status(wire::FENCED).into_response(),
        Err(ControlError::Refused(reason)) => (status(wire::REFUSED), reason).into_response(),
        Err(ControlError::Unavailable(source)) => {
            tracing::debug!(error = chain(source.as_ref()), "a worker must try again");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

fn bearer(headers: &HeaderMap) -> Result<Secret, ApiError> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Secret::from(token.trim().to_owned())),
        _ => Err(ApiError::Unauthorized),
    }
}

fn address(parts: &Parts) -> String {
    parts.extensions.get::<Peer>().map_or_else(String::new, |peer| peer.0.to_string())
}
