//! Requests and answers: retries where they are safe, errors in words.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::document;
use crate::{error::ClientError, host::Host};

/// The media type of the API's documents.
const MEDIA_TYPE: &str = "application/vnd.api+json";
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may be silent: longer than it holds a request for a log that does not grow.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long an ordinary request may take as a whole; uploads, downloads and logs only must not fall silent.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// How often a request without effect is tried while the server is away; with the growing pauses about six seconds,
/// enough for a restart.
const MAX_TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Most characters of a reason that are shown: a chain of causes has a few lines at most.
const MAX_REASON_CHARACTERS: usize = 300;
/// How many items a page of a list has: the largest that servers give.
const PAGE_SIZE: u64 = 100;
/// Most pages that are read of one list.
const MAX_PAGES: u64 = 100;

/// A connection to one server, with one token. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    host: Host,
}

impl Client {
    /// Prepares to talk to the server; nothing is sent yet.
    pub fn new(host: &Host) -> Result<Self, ClientError> {
        let mut builder = builder();
        if let Some(path) = &host.authority {
            let pem = std::fs::read(path).map_err(|error| ClientError::Local(format!("{} cannot be read: {error}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem);
            let certificates = certificates.map_err(|error| ClientError::Local(format!("{}: {error}", path.display())))?;
            builder = builder.tls_certs_merge(certificates);
        }
        let http = builder.build().map_err(|error| ClientError::Local(error.to_string()))?;
        Ok(Self { http, host: host.clone() })
    }

    /// The server that this client talks to.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// One resource.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let body = self.bytes(&self.request(Method::GET, path)?, path).await?;
        document::one(&body).map_err(|error| self.unexpected(error))
    }

    /// A body of the API that is no document.
    pub(crate) async fn read_api(&self, path: &str) -> Result<Bytes, ClientError> {
        self.bytes(&self.request(Method::GET, path)?, path).await
    }

    /// All resources of a list that is given in pages, at most [`MAX_PAGES`] of them or `limit` items.
    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &str, limit: usize) -> Result<Vec<T>, ClientError> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut number) = (Vec::new(), 1);
        while number <= MAX_PAGES {
            let page = format!("{path}{joint}page%5Bnumber%5D={number}&page%5Bsize%5D={PAGE_SIZE}");
            let body = self.bytes(&self.request(Method::GET, &page)?, path).await?;
            let (more, next) = document::many(&body).map_err(|error| self.unexpected(error))?;
            items.extend::<Vec<T>>(more);
            match next {
                Some(next) if items.len() < limit => number = next,
                _ => break,
            }
        }
        items.truncate(limit);
        Ok(items)
    }

    /// Sends a document and reads the resource in the answer. Tried once: the server may have acted on it.
    pub(crate) async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: &Value) -> Result<T, ClientError> {
        let answer = self.submit(method, path, body).await?;
        document::one(&answer).map_err(|error| self.unexpected(error))
    }

    /// Sends a document and gives the body of the answer. Tried once: the server may have acted on it.
    pub(crate) async fn submit(&self, method: Method, path: &str, body: &Value) -> Result<Bytes, ClientError> {
        let request = self.request(method, path)?.header(header::CONTENT_TYPE, MEDIA_TYPE).body(body.to_string());
        self.once(request, path).await
    }

    /// Uploads to a signed address, which takes no token.
    pub(crate) async fn upload_to(&self, url: &str, content: Vec<u8>) -> Result<(), ClientError> {
        let request = self.http.put(url).header(header::CONTENT_TYPE, "application/octet-stream").body(content);
        self.once(request, "the upload address").await.map(drop)
    }

    /// Reads from a signed address, without a token.
    pub(crate) async fn read_signed(&self, url: &str) -> Result<Bytes, ClientError> {
        self.bytes(&self.http.get(url), "the signed address").await
    }

    /// Reads a body that is no document. The token goes along to the API's own server only: a server may keep content
    /// elsewhere, under a signed address, and that place must not learn the token.
    pub(crate) async fn read(&self, url: &str) -> Result<Bytes, ClientError> {
        let url = Url::parse(url).map_err(|error| self.unexpected(format!("the address {url} is not valid: {error}")))?;
        let is_own = url.origin() == self.host.api.origin();
        let request = self.http.get(url);
        let request = if is_own { request.bearer_auth(self.host.token.expose()) } else { request };
        self.bytes(&request, "the content").await
    }

    /// An error about an answer that makes no sense.
    pub(crate) fn unexpected(&self, reason: impl ToString) -> ClientError {
        ClientError::Unexpected { host: self.host.name.clone(), reason: reason.to_string() }
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, ClientError> {
        let url = self.host.api.join(path).map_err(|error| ClientError::Local(format!("{path}: {error}")))?;
        let request = self.http.request(method, url).timeout(REQUEST_TIMEOUT);
        Ok(request.bearer_auth(self.host.token.expose()).header(header::ACCEPT, MEDIA_TYPE))
    }

    /// The body of the answer to a request without effect, which is sent again while the server is away.
    async fn bytes(&self, request: &RequestBuilder, what: &str) -> Result<Bytes, ClientError> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
        loop {
            let request = request.try_clone().ok_or_else(|| ClientError::Local("a request cannot be repeated".to_owned()))?;
            let outcome = answer(request).await;
            let is_passing = outcome.as_ref().map_or(true, |(status, _)| is_passing(*status));
            if !is_passing || tries == MAX_TRIES {
                let (status, body) = outcome.map_err(|error| self.unreachable(error))?;
                return self.judged(status, body, what);
            }
            tokio::time::sleep(jittered(pause)).await;
            pause *= 2;
            tries += 1;
        }
    }

    async fn once(&self, request: RequestBuilder, what: &str) -> Result<Bytes, ClientError> {
        let (status, body) = answer(request).await.map_err(|error| self.unreachable(error))?;
        self.judged(status, body, what)
    }

    fn judged(&self, status: StatusCode, body: Bytes, what: &str) -> Result<Bytes, ClientError> {
        match status {
            status if status.is_success() => Ok(body),
            StatusCode::NOT_FOUND => Err(ClientError::NotFound { what: what.split('?').next().unwrap_or(what).to_owned() }),
            StatusCode::UNAUTHORIZED => Err(ClientError::Unauthorized { host: self.host.name.clone() }),
            status => match document::reasons(&body) {
                Some(detail) => Err(ClientError::Refused { status: status.as_u16(), detail }),
                None if status.is_client_error() => {
                    Err(ClientError::Refused { status: status.as_u16(), detail: format!("the server refused {what}: {status}") })
                }
                None => Err(self.unexpected(format!("status {status}"))),
            },
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> ClientError {
        ClientError::Unreachable { host: self.host.name.clone(), reason: causes(&error.without_url()) }
    }
}

/// What every connection of this crate has in common.
pub(crate) fn builder() -> reqwest::ClientBuilder {
    let agent = concat!("tfe/", env!("CARGO_PKG_VERSION"));
    reqwest::Client::builder().user_agent(agent).connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENCE_TIMEOUT)
}

async fn answer(request: RequestBuilder) -> Result<(StatusCode, Bytes), reqwest::Error> {
    let response = request.send().await?;
    let status = response.status();
    Ok((status, response.bytes().await?))
}

/// An error with its causes: the outermost only says that sending failed, the innermost why.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut reason = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        reason = format!("{reason}: {cause}");
        next = cause.source();
    }
    reason.chars().take(MAX_REASON_CHARACTERS).collect()
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Between half and all of the pause, so that clients do not come back in step.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0_u8];
    // Without chance the pause is only less spread.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause.mul_f64(f64::from(byte[0]) / 512.0)
}

/// A part of a path or query, so that names cannot change what is asked for.
pub(crate) fn part(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}
