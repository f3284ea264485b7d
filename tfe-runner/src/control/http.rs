//! The control plane over HTTP, for workers on other machines.
//!
//! Several servers of one installation may be named. A call goes to the one that answered last; when that one does not
//! answer, the caller's next try goes to the next. Calls are idempotent, so it does no harm if both did it.

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use reqwest::{Body, Certificate, Client, Method, RequestBuilder, Response, StatusCode, redirect::Policy};
use serde::{Serialize, de::DeserializeOwned};
use tfe_core::{id::Id, job::Job, run::Run, secret::Secret};

use super::{ByteStream, Control, ControlError, Ticket, wire};
use crate::job::{ArtifactKind, Assignment, Directive, Outcome, RunnerInfo};

/// How long a connection may take to be made: a server that is gone is noticed, and the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a call may take besides what it waits for: well within a lease, so that a frozen server costs no job.
const CALL_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a transfer may be silent: longer than any hiccup of a network.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest document in an answer that is read as a whole: an assignment with all its variables.
const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// Largest state, as servers take it.
const MAX_STATE_BYTES: usize = 512 << 20;
/// What a seal adds to one: a nonce and a tag.
const MAX_SEAL_BYTES: usize = 1024;

/// The servers of an installation, as a worker reaches them.
pub struct HttpControl {
    client: Client,
    servers: Vec<String>,
    /// The one that answered last, as a number that wraps around.
    current: AtomicUsize,
    token: Secret,
}

/// Why servers cannot be talked to at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpControlError {
    /// An address is not one of a server.
    #[error("{0} is no address of a server; give one like https://tfe.example.com")]
    Address(String),
    /// Secrets would travel in clear.
    #[error("{0} is not encrypted, and jobs carry secrets; use https, or http only to this machine itself")]
    Clear(String),
    /// The TLS settings do not work.
    #[error("connections cannot be made: {0}")]
    Client(#[source] reqwest::Error),
}

impl HttpControl {
    /// Prepares to call the servers with a worker's token. `authorities` are PEM certificates that are trusted besides
    /// the system's. Nothing is called yet.
    pub fn new(servers: &[String], token: Secret, authorities: &[Vec<u8>]) -> Result<Self, HttpControlError> {
        let servers = servers.iter().map(|server| checked(server)).collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(HttpControlError::Address("nothing".to_owned()));
        }
        let builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENCE_TIMEOUT).redirect(Policy::none());
        let certificates = authorities.iter().map(|pem| Certificate::from_pem_bundle(pem)).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(HttpControlError::Client)?;
        let builder = certificates.into_iter().flatten().fold(builder, reqwest::ClientBuilder::add_root_certificate);
        let client = builder.build().map_err(HttpControlError::Client)?;
        Ok(Self { client, servers, current: AtomicUsize::new(0), token })
    }

    /// A call as the worker itself.
    fn own(&self, method: Method, path: &str) -> Call<'_> {
        let (server, request) = self.request(method, path);
        Call { control: self, server, request: request.bearer_auth(self.token.expose()) }
    }

    /// A call about a job.
    fn about(&self, ticket: &Ticket, method: Method, path: &str) -> Call<'_> {
        let (server, request) = self.request(method, &format!("jobs/{}/{path}", ticket.job));
        let request = request.bearer_auth(ticket.run_token.expose()).header(wire::FENCING_TOKEN, ticket.fencing_token);
        Call { control: self, server, request }
    }

    fn request(&self, method: Method, path: &str) -> (usize, RequestBuilder) {
        let server = self.current.load(Ordering::Relaxed);
        let base = &self.servers[server % self.servers.len()];
        (server, self.client.request(method, format!("{base}{}/{path}", wire::ROOT)))
    }

    /// Sends later calls to the next server, unless another call has done so already.
    fn give_up_on(&self, server: usize) {
        let _ = self.current.compare_exchange(server, server.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A request on its way to one of the servers.
struct Call<'c> {
    control: &'c HttpControl,
    server: usize,
    request: RequestBuilder,
}

impl Call<'_> {
    fn json(self, body: &impl Serialize) -> Self {
        Self { request: self.request.json(body), ..self }
    }

    fn body(self, body: impl Into<Body>) -> Self {
        Self { request: self.request.body(body), ..self }
    }

    /// The answer's head, if it says that the call was done. `wait` is how long the server may take on purpose.
    async fn send(self, wait: Duration) -> Result<Response, ControlError> {
        let Self { control, server, request } = self;
        let answer = match tokio::time::timeout(wait + CALL_TIMEOUT, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                control.give_up_on(server);
                return Err(ControlError::Unavailable(error.into()));
            }
            Err(elapsed) => {
                control.give_up_on(server);
                return Err(ControlError::Unavailable(elapsed.into()));
            }
        };
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status if status.as_u16() == wire::FENCED => Err(ControlError::Fenced),
            status if status.as_u16() == wire::REFUSED => Err(ControlError::Refused(text(answer).await)),
            StatusCode::PAYLOAD_TOO_LARGE => Err(ControlError::Refused("it is larger than a server takes".to_owned())),
            StatusCode::UNAUTHORIZED => Err(ControlError::Unavailable("the server does not know the token of this worker".into())),
            status => {
                control.give_up_on(server);
                Err(ControlError::Unavailable(format!("a server answered {status}").into()))
            }
        }
    }

    /// The same for a body that may take long, as long as it goes on.
    async fn upload(self) -> Result<(), ControlError> {
        self.send(UPLOAD_PATIENCE).await.map(drop)
    }

    async fn done(self) -> Result<(), ControlError> {
        self.send(Duration::ZERO).await.map(drop)
    }

    async fn document<T: DeserializeOwned>(self, wait: Duration) -> Result<T, ControlError> {
        parsed(self.send(wait).await?).await
    }
}

/// How long an upload may take: what a slow line needs for the largest state.
const UPLOAD_PATIENCE: Duration = Duration::from_mins(10);

#[async_trait]
impl Control for HttpControl {
    async fn claim(&self, runner: &RunnerInfo, wait: Duration) -> Result<Option<Assignment>, ControlError> {
        let wait = wait.min(Duration::from_millis(wire::MAX_WAIT_MILLIS));
        let claim = wire::Claim { runner: runner.clone(), wait_millis: millis(wait) };
        let answer = self.own(Method::POST, "claim").json(&claim).send(wait).await?;
        if answer.status() == StatusCode::NO_CONTENT { Ok(None) } else { parsed(answer).await.map(Some) }
    }

    async fn leave(&self, runner: &RunnerInfo) -> Result<(), ControlError> {
        self.own(Method::POST, "leave").json(&wire::Caller { runner: runner.clone() }).done().await
    }

    async fn adopt(&self, runner: &RunnerInfo, job: &Id<Job>) -> Result<Assignment, ControlError> {
        let path = format!("jobs/{job}/adopt");
        self.own(Method::POST, &path).json(&wire::Caller { runner: runner.clone() }).document(Duration::ZERO).await
    }

    async fn bring_late_state(&self, job: &Id<Job>, sealed: Bytes) -> Result<(), ControlError> {
        require_size(&sealed, MAX_STATE_BYTES + MAX_SEAL_BYTES)?;
        self.own(Method::PUT, &format!("jobs/{job}/late-state")).body(sealed).upload().await
    }

    async fn heartbeat(&self, ticket: &Ticket) -> Result<Directive, ControlError> {
        let wanted: wire::Wanted = self.about(ticket, Method::POST, "heartbeat").document(Duration::ZERO).await?;
        Ok(wanted.directive)
    }

    async fn await_directive(&self, ticket: &Ticket, wait: Duration) -> Result<Directive, ControlError> {
        let wait = wait.min(Duration::from_millis(wire::MAX_WAIT_MILLIS));
        let body = wire::Wait { wait_millis: millis(wait) };
        let wanted: wire::Wanted = self.about(ticket, Method::POST, "directive").json(&body).document(wait).await?;
        Ok(wanted.directive)
    }

    async fn configuration(&self, ticket: &Ticket) -> Result<ByteStream, ControlError> {
        Ok(content(self.about(ticket, Method::GET, "configuration").send(Duration::ZERO).await?))
    }

    async fn state(&self, ticket: &Ticket) -> Result<Option<Bytes>, ControlError> {
        let answer = self.about(ticket, Method::GET, "state").send(SILENCE_TIMEOUT).await?;
        if answer.status() == StatusCode::NO_CONTENT { Ok(None) } else { whole(answer, MAX_STATE_BYTES).await.map(Some) }
    }

    async fn artifact(&self, ticket: &Ticket, kind: ArtifactKind) -> Result<Option<ByteStream>, ControlError> {
        let answer = self.about(ticket, Method::GET, &format!("artifacts/{}", kind.as_str())).send(Duration::ZERO).await?;
        Ok((answer.status() != StatusCode::NO_CONTENT).then(|| content(answer)))
    }

    async fn save_artifact(&self, ticket: &Ticket, kind: ArtifactKind, content: ByteStream) -> Result<(), ControlError> {
        self.about(ticket, Method::PUT, &format!("artifacts/{}", kind.as_str())).body(Body::wrap_stream(content)).upload().await
    }

    async fn log_length(&self, ticket: &Ticket) -> Result<u64, ControlError> {
        let length: wire::Length = self.about(ticket, Method::GET, "log").document(Duration::ZERO).await?;
        Ok(length.bytes)
    }

    async fn append_log(&self, ticket: &Ticket, offset: u64, content: Bytes) -> Result<(), ControlError> {
        self.about(ticket, Method::POST, &format!("log?offset={offset}")).body(content).send(SILENCE_TIMEOUT).await.map(drop)
    }

    async fn save_state(&self, ticket: &Ticket, content: Bytes) -> Result<(), ControlError> {
        require_size(&content, MAX_STATE_BYTES)?;
        self.about(ticket, Method::PUT, "state").body(content).upload().await
    }

    async fn report(&self, ticket: &Ticket, outcome: Outcome) -> Result<(), ControlError> {
        self.about(ticket, Method::POST, "report").json(&outcome).send(SILENCE_TIMEOUT).await.map(drop)
    }

    async fn is_over(&self, run: &Id<Run>) -> Result<bool, ControlError> {
        let over: wire::Over = self.own(Method::GET, &format!("runs/{run}/over")).document(Duration::ZERO).await?;
        Ok(over.over)
    }
}

impl fmt::Debug for HttpControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpControl").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// The address without a slash at its end, if it is one to which secrets may be sent.
fn checked(server: &str) -> Result<String, HttpControlError> {
    let url = reqwest::Url::parse(server).map_err(|_| HttpControlError::Address(server.to_owned()))?;
    let host = url.host_str().ok_or_else(|| HttpControlError::Address(server.to_owned()))?;
    let is_here =
        host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match url.scheme() {
        "https" => {}
        "http" if is_here => {}
        "http" => return Err(HttpControlError::Clear(server.to_owned())),
        _ => return Err(HttpControlError::Address(server.to_owned())),
    }
    Ok(server.trim_end_matches('/').to_owned())
}

/// Refuses what servers do not take before it is sent: they hang up on it, which looks as if they were gone.
fn require_size(content: &Bytes, limit: usize) -> Result<(), ControlError> {
    if content.len() <= limit {
        return Ok(());
    }
    Err(ControlError::Refused(format!("it has {} bytes, and servers take at most {limit}", content.len())))
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

/// The body of an answer, as it comes.
fn content(answer: Response) -> ByteStream {
    answer.bytes_stream().map_err(std::io::Error::other).boxed()
}

async fn whole(answer: Response, limit: usize) -> Result<Bytes, ControlError> {
    let unavailable = |error: std::io::Error| ControlError::Unavailable(error.into());
    let mut body = Vec::new();
    let mut stream = content(answer);
    while let Some(part) = stream.try_next().await.map_err(unavailable)? {
        if body.len() + part.len() > limit {
            return Err(unavailable(std::io::Error::other(format!("an answer has more than {limit} bytes"))));
        }
        body.extend_from_slice(&part);
    }
    Ok(body.into())
}

async fn parsed<T: DeserializeOwned>(answer: Response) -> Result<T, ControlError> {
    let body = whole(answer, MAX_DOCUMENT_BYTES).await?;
    // The text is not shown: it may hold secrets.
    serde_json::from_slice(&body)
        .map_err(|_| ControlError::Unavailable("an answer cannot be read; are worker and server of one release?".into()))
}

async fn text(answer: Response) -> String {
    let body = whole(answer, MAX_DOCUMENT_BYTES).await.unwrap_or_default();
    String::from_utf8_lossy(&body).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_travel_in_clear_on_this_machine_only() {
        for good in ["https://tfe.example.com/", "http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:80"] {
            assert!(checked(good).is_ok_and(|url| !url.ends_with('/')), "{good}");
        }
        for clear in ["http://tfe.example.com", "http://192.0.2.1:8080"] {
            assert!(matches!(checked(clear), Err(HttpControlError::Clear(_))), "{clear}");
        }
        for wrong in ["tfe.example.com", "ftp://tfe.example.com", ""] {
            assert!(matches!(checked(wrong), Err(HttpControlError::Address(_))), "{wrong}");
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_and_not_sent_again() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await.unwrap();
            socket.write_all(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
        });
        let control = HttpControl::new(&[url], Secret::from("token".to_owned()), &[]).unwrap();
        let ticket = Ticket { job: Id::from("job-1"), fencing_token: 1, run_token: Secret::from("run".to_owned()) };
        let answer = control.save_state(&ticket, Bytes::from_static(b"{}")).await;
        assert!(matches!(answer, Err(ControlError::Refused(_))), "{answer:?}");
        assert!(matches!(require_size(&Bytes::from_static(b"12345"), 4), Err(ControlError::Refused(_))));
    }

    #[test]
    fn the_token_is_not_shown() {
        let control = HttpControl::new(&["https://tfe.example.com".to_owned()], Secret::from("planted".to_owned()), &[]).unwrap();
        assert!(!format!("{control:?}").contains("planted"));
    }
}
