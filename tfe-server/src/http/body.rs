//! Request bodies: documents, read whole below a limit, and uploads, streamed with a limit on silence.

use std::{io, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
};
use futures::{Stream, StreamExt, stream};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tfe_core::jsonapi;

use crate::error::ApiError;

/// Largest document: a state version may carry a whole state in its attributes, for clients that cannot upload.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// How long a document may take to arrive: they are small, and a state in one is small too.
const MAX_DOCUMENT_WAIT: Duration = Duration::from_secs(30);

/// The resource in the body of a request.
#[derive(Debug)]
pub(crate) struct Input(pub(crate) jsonapi::Input);

/// The raw document in the body of a request.
#[derive(Debug)]
pub(crate) struct Document(pub(crate) Bytes);

impl<S: Sync> FromRequest<S> for Document {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = Limited::new(request.into_body(), MAX_DOCUMENT_BYTES).collect();
        let body = tokio::time::timeout(MAX_DOCUMENT_WAIT, body).await.map_err(|_| ApiError::Stalled)?;
        match body {
            Ok(body) => Ok(Self(body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(ApiError::TooLarge { limit_bytes: MAX_DOCUMENT_BYTES as u64 }),
            Err(_) => Err(ApiError::BadRequest("the body broke off".to_owned())),
        }
    }
}

impl<S: Sync> FromRequest<S> for Input {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let Document(body) = Document::from_request(request, state).await?;
        Ok(Self(jsonapi::Input::parse(&body)?))
    }
}

/// The body as a stream that ends with an error when nothing comes for that long.
pub(crate) fn upload(body: Body, max_silence: Duration) -> impl Stream<Item = io::Result<Bytes>> + Send + Unpin {
    let data = Box::pin(body.into_data_stream());
    Box::pin(stream::unfold(Some(data), move |data| async move {
        let mut data = data?;
        match tokio::time::timeout(max_silence, data.next()).await {
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(data))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(io::Error::from(io::ErrorKind::TimedOut)), None)),
        }
    }))
}
