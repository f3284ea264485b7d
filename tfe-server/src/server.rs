//! A composed server: its router, its background work, and the loop that accepts connections.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, Method, Version, header},
    middleware::{self, Next},
    response::Response,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tfe_runner::Runner;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    api,
    app::App,
    builder::ServerBuilder,
    collect,
    embedded::DirectoryLock,
    error::ApiError,
    health,
    http::{
        limits, middleware as layers,
        peer::{IsFirst, Peer},
        routes::Routes,
    },
    metrics, reconcile, service, snapshots, ui,
};

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in progress may go on after the end was asked for: a long poll of a log and a little more.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(6);
/// The same once another process serves, so that nobody waits for the end of this one: what the largest upload of the default
/// [settings](crate::Settings), half a gigabyte, takes over a line of five megabits a second.
const HANDED_OVER_DRAIN_TIMEOUT: Duration = Duration::from_mins(15);

/// How long connections that wait for a request may wait for one more after the end was asked for: its answer says that the connection
/// closes. A connection that is closed without one can meet a request on its way, which some clients take for a failure.
const LINGER: Duration = Duration::from_secs(1);
/// How often it is looked whether connections are left.
const LINGER_INTERVAL: Duration = Duration::from_millis(20);

/// Most connections that are accepted after the end was asked for: as many as the system queues (`listen(2)`).
const MAX_QUEUED: usize = 4096;

/// A composed server.
#[derive(Debug)]
pub struct Server {
    app: App,
    runner: Option<Runner>,
    lock: Option<DirectoryLock>,
}

impl Server {
    /// Begins to compose one.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    pub(crate) fn new(app: App, runner: Option<Runner>, lock: Option<DirectoryLock>) -> Self {
        Self { app, runner, lock }
    }

    /// The parts.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The API and the pages, to mount in an axum application. Someone must also [work](Self::work).
    pub fn router(&self) -> Router {
        let (router, _) = all_routes().into_parts();
        router
            .fallback(async || ApiError::NotFound)
            .layer(middleware::from_fn(api::version_headers))
            .layer(middleware::from_fn_with_state(self.app.clone(), layers::refuse_when_full))
            .layer(middleware::from_fn_with_state(self.app.clone(), limits::limited))
            .layer(middleware::from_fn_with_state(self.app.clone(), layers::measured))
            .layer(middleware::from_fn_with_state(self.app.clone(), layers::numbered))
            .with_state(self.app.clone())
    }

    /// Serves Prometheus metrics at `/metrics` until `shutdown`; apart from the API, since whoever reads them needs no token.
    pub fn serve_metrics(&self, listener: TcpListener, shutdown: CancellationToken) {
        let app = self.app.clone();
        let render = async |State(app): State<App>| metrics::render(&app).await;
        let router = Router::new().route("/metrics", axum::routing::get(render)).with_state(app);
        tokio::spawn(async move { accept(listener, None, router, &shutdown, || DRAIN_TIMEOUT).await });
    }

    /// Does the background work, reconciling and running jobs, until `shutdown`. Supervised engines go on after that
    /// and are taken up again by the next start.
    pub async fn work(self, shutdown: CancellationToken) {
        let _lock = self.lock;
        let (app, loops) = (&self.app, &self.app.health.loops);
        loops.start("health", &shutdown, health::run(app.clone(), shutdown.clone()));
        loops.start("collector", &shutdown, collect::run(app.clone(), shutdown.clone()));
        // What these do at the end is waited for.
        let mut last = vec![
            loops.start(reconcile::LOOP, &shutdown, reconcile::run(app.clone(), shutdown.clone())),
            loops.start(service::nodes::LOOP, &shutdown, service::nodes::run(app.clone(), shutdown.clone())),
        ];
        if let Some(snapshots) = app.snapshots.clone() {
            last.push(loops.start("snapshots", &shutdown, snapshots::run(app.clone(), snapshots, shutdown.clone())));
        }
        if let Some(runner) = self.runner {
            let end = shutdown.clone();
            let running = async move {
                runner.run(end.clone(), end.clone()).await;
                // One that has no place for its work has said so.
                end.cancelled().await;
            };
            last.push(loops.start("runner", &shutdown, running));
        }
        shutdown.cancelled().await;
        for ended in last {
            // How each ended was told.
            let _ = ended.await;
        }
    }

    /// Serves and works until `shutdown`, then lets requests in progress finish.
    pub async fn serve(self, listener: TcpListener, tls: Option<TlsAcceptor>, shutdown: CancellationToken) -> io::Result<()> {
        let router = self.router();
        let health = self.app.health.clone();
        let work = tokio::spawn(self.work(shutdown.clone()));
        let patience = || if health.is_handed_over() { HANDED_OVER_DRAIN_TIMEOUT } else { DRAIN_TIMEOUT };
        accept(listener, tls, router, &shutdown, patience).await;
        work.await.map_err(io::Error::other)
    }
}

/// Every route with its method, sorted: the table of the API.
pub fn route_table() -> Vec<(Method, &'static str)> {
    let (_, mut table) = all_routes().into_parts();
    table.sort_by_key(|(method, path)| (*path, method.to_string()));
    table
}

fn all_routes() -> Routes {
    api::routes().and(ui::routes())
}

/// Serves until `shutdown`, and then lets requests in progress finish, for so long at most as `patience` says at that time.
async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    shutdown: &CancellationToken,
    patience: impl Fn() -> Duration,
) {
    let graceful = GracefulShutdown::new();
    let router = router.layer(middleware::from_fn_with_state(shutdown.clone(), closing));
    let begin = |stream: TcpStream, peer: SocketAddr| {
        // Small answers must not wait for the acknowledgement of earlier ones: that costs 40 ms a call (contract 1.2).
        let _ = stream.set_nodelay(true);
        let (router, watcher, tls) = (router.clone(), graceful.watcher(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(stream, peer, router, watcher).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, peer, router, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "a TLS handshake took too long"),
                },
            }
        });
    };
    loop {
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // Out of file handles, most likely: others must finish first.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        begin(stream, peer);
    }
    // Whoever connects to a socket that is nobody else's should know at once, and ask another node; whoever has connected already
    // would only see the connection break.
    for (stream, peer) in queued(listener) {
        begin(stream, peer);
    }
    let deadline = Instant::now() + LINGER;
    while graceful.count() > 0 && Instant::now() < deadline {
        tokio::time::sleep(LINGER_INTERVAL).await;
    }
    let _ = tokio::time::timeout(patience(), graceful.shutdown()).await;
}

/// The connections that nobody has accepted yet; the socket is closed after the last.
fn queued(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accept = || {
        let (stream, peer) = listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok::<_, io::Error>((TcpStream::from_std(stream)?, peer))
    };
    std::iter::from_fn(|| accept().ok()).take(MAX_QUEUED).collect()
}

/// Says that the connection closes, once the server is about to end. HTTP/2 has another way, which needs no help.
async fn closing(State(shutdown): State<CancellationToken>, request: Request, next: Next) -> Response {
    let is_told = request.version() < Version::HTTP_2;
    let mut response = next.run(request).await;
    if is_told && shutdown.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn connection<S>(stream: S, peer: SocketAddr, router: Router, watcher: hyper_util::server::graceful::Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let is_first = Arc::new(AtomicBool::new(true));
    let router = router.map_request(move |mut request: axum::http::Request<_>| {
        request.extensions_mut().insert(Peer(peer.ip()));
        request.extensions_mut().insert(IsFirst(is_first.swap(false, Ordering::Relaxed)));
        request
    });
    let service = TowerToHyperService::new(router);
    let serving = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(serving).await {
        tracing::debug!(%peer, %error, "a connection ended badly");
    }
}
