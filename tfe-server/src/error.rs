//! Errors on their way to a client: what the user reads, and what the log reads.

use std::io;

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
pub(crate) use tfe_core::error::chain;
use tfe_core::{
    error::{Invalid, Refused},
    jsonapi::{Errors, MEDIA_TYPE},
    state::StateConflict,
};
use tfe_storage::{BlobError, VaultError};

/// Why a request was not done, by what the client can do about it.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There is no such thing, or the caller may not see it; the two must look the same.
    #[error("not found")]
    NotFound,
    /// The token is missing, wrong or expired.
    #[error("unauthorized")]
    Unauthorized,
    /// The request is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The request cannot even be read.
    #[error("{0}")]
    BadRequest(String),
    /// The caller asks too often.
    #[error("You have exceeded the API's rate limit.")]
    TooMany,
    /// The state of things forbids it now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Others changed the same things at the same time, and nothing was done; it may be asked again.
    #[error("it was changed by someone else at the same time; try again")]
    Busy,
    /// The state's history forbids it.
    #[error(transparent)]
    State(#[from] StateConflict),
    /// The body is larger than this endpoint takes.
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Nothing came for too long.
    #[error("the upload stalled; send it again")]
    Stalled,
    /// A disk of the system is full.
    #[error("there is no space left to store this")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A part of the system does not answer; the request may be sent again.
    #[error("a part of the system is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A defect, or damaged data.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a handler returns.
pub(crate) type Reply = Result<Response, ApiError>;

impl ApiError {
    /// A defect, with what the log should know.
    pub(crate) fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// Whether the same may succeed when the system works again, or others are done.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_) | Self::Busy)
    }

    /// Whether nothing can have changed. When a part of the system did not answer that is not known.
    pub(crate) fn had_no_effect(&self) -> bool {
        !matches!(self, Self::Unavailable(_) | Self::Internal(_))
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::State(StateConflict::OlderSerial) => StatusCode::PRECONDITION_FAILED,
            Self::Refused(_) | Self::Busy | Self::State(_) => StatusCode::CONFLICT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Stalled => StatusCode::REQUEST_TIMEOUT,
            Self::Full(_) => StatusCode::INSUFFICIENT_STORAGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn document(&self, status: StatusCode) -> Errors {
        let code = status.as_u16();
        let title = status.canonical_reason().unwrap_or("Error").to_lowercase();
        match self {
            Self::Invalid(invalid) => Errors::invalid(invalid),
            Self::NotFound | Self::Unauthorized => Errors::one(code, &title, None),
            Self::Unavailable(_) => Errors::one(code, &title, Some(format!("{self}; try again in a moment"))),
            Self::Full(_) => Errors::one(code, &title, Some(format!("{self}; ask the operator to make some, then send it again"))),
            Self::Internal(_) => {
                let detail = "something went wrong inside the server; its log has the cause, under the x-request-id of this answer";
                Errors::one(code, &title, Some(detail.to_owned()))
            }
            _ => Errors::one(code, &title, Some(self.to_string())),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        if let Self::Unavailable(source) | Self::Internal(source) | Self::Full(source) = &self {
            tracing::error!(error = chain(source.as_ref()), "request failed");
        }
        let body = Json(self.document(status));
        (status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response()
    }
}

impl From<tfe_storage::Error> for ApiError {
    fn from(error: tfe_storage::Error) -> Self {
        match error {
            tfe_storage::Error::NotFound { .. } => Self::NotFound,
            tfe_storage::Error::Conflict { .. } => Self::Busy,
            tfe_storage::Error::Unavailable(source) => Self::Unavailable(source),
            tfe_storage::Error::Full(source) => Self::Full(source),
            other => Self::internal(other),
        }
    }
}

impl From<BlobError> for ApiError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::TooLarge { limit_bytes } => Self::TooLarge { limit_bytes },
            BlobError::Interrupted(source) if source.kind() == io::ErrorKind::TimedOut => Self::Stalled,
            BlobError::Interrupted(_) => Self::BadRequest("the upload broke off; send it again".to_owned()),
            BlobError::Full(source) => Self::Full(source),
            BlobError::Unavailable(_) | BlobError::Vault(VaultError::Unavailable(_)) => Self::Unavailable(Box::new(error)),
            other => Self::internal(other),
        }
    }
}

impl From<VaultError> for ApiError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Unavailable(_) => Self::Unavailable(Box::new(error)),
            other => Self::internal(other),
        }
    }
}

/// The error of a commit, in the words for a name that others have already.
pub(crate) fn taken(error: tfe_storage::Error) -> ApiError {
    match error {
        tfe_storage::Error::AlreadyExists { .. } => Invalid::attribute("name", "Name has already been taken").into(),
        error => error.into(),
    }
}
