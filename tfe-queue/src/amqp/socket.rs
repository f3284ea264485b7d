//! The connection below AMQP.
//!
//! The client library would encrypt by itself, but it brings readers of key stores and ciphers of the past along for
//! that, and it waits for ever for a broker that takes connections and says nothing, in a thread for each attempt.
//! So the socket is ours: encrypted as everywhere in this program, and an error once nothing was heard for too long.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use async_rs::{Runtime, Tokio, traits::Reactor, util::RuntimeParts};
use futures::{Stream, TryFutureExt, task::AtomicWaker};
use lapin::{AsyncTcpStream, uri::AMQPUri};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep_until, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, pki_types::ServerName},
};

use super::address::is_encrypted;
use crate::{link::Background, queue::CALL_TIMEOUT};

/// Longest silence of a broker. It sends a sign of life every few seconds, also while it has nothing to say.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// What the client library runs on: tokio, with our sockets.
pub(super) type Kit = RuntimeParts<Tokio, Sockets>;

/// Makes our sockets for the client library.
#[derive(Debug, Clone)]
pub(super) struct Sockets(Tokio);

/// A connection, plain or encrypted, that fails when nothing was heard for [`SILENCE_LIMIT`].
pub(super) struct Socket {
    transport: Pin<Box<dyn Transport>>,
    silence: Arc<Silence>,
    _watch: Background,
}

/// How long nothing was heard. A task watches it, since the library reads in a thread without a runtime, which may
/// also outlive the runtime.
struct Silence {
    heard: Mutex<Instant>,
    too_long: AtomicBool,
    reader: AtomicWaker,
}

trait Transport: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Transport for T {}

/// The current runtime, for the client library.
pub(super) fn runtime() -> Runtime<Kit> {
    Runtime::new(RuntimeParts::new(Tokio::current(), Sockets(Tokio::current())))
}

/// Connects, and encrypts if the address says so, within [`CALL_TIMEOUT`]: whoever asked for it waits no longer, but the
/// library's thread would.
pub(super) async fn connect(uri: AMQPUri) -> io::Result<AsyncTcpStream<Socket>> {
    let socket = timeout(CALL_TIMEOUT, open(uri)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
    Ok(AsyncTcpStream::Plain(socket?))
}

async fn open(uri: AMQPUri) -> io::Result<Socket> {
    let authority = &uri.authority;
    let stream = TcpStream::connect((authority.host.as_str(), authority.port)).await?;
    // Acknowledgements are small, and somebody waits for each.
    stream.set_nodelay(true)?;
    if !is_encrypted(&uri) {
        return Ok(Socket::new(stream));
    }
    let name = ServerName::try_from(authority.host.clone()).map_err(io::Error::other)?;
    Ok(Socket::new(TlsConnector::from(encryption()?).connect(name, stream).await?))
}

/// Encryption that trusts the roots of the operating system. Read for each connection, so that new roots are seen.
fn encryption() -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

impl Socket {
    fn new(transport: impl Transport + 'static) -> Self {
        let silence = Arc::new(Silence { heard: Mutex::new(Instant::now()), too_long: AtomicBool::new(false), reader: AtomicWaker::new() });
        let watch = Background::spawn(watch(EndOfRuntime(Arc::clone(&silence))));
        Self { transport: Box::pin(transport), silence, _watch: watch }
    }
}

impl Silence {
    fn heard(&self) -> MutexGuard<'_, Instant> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.too_long.store(true, Ordering::Release);
        self.reader.wake();
    }
}

/// Ends the connection with the task that watches it, which is when the runtime shuts down.
struct EndOfRuntime(Arc<Silence>);

impl Drop for EndOfRuntime {
    fn drop(&mut self) {
        self.0.end();
    }
}

async fn watch(connection: EndOfRuntime) {
    loop {
        let limit = *connection.0.heard() + SILENCE_LIMIT;
        if Instant::now() >= limit {
            return;
        }
        sleep_until(limit.into()).await;
    }
}

impl futures::AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        self.silence.reader.register(context.waker());
        match self.transport.as_mut().poll_read(context, &mut buffer) {
            Poll::Ready(result) => {
                *self.silence.heard() = Instant::now();
                Poll::Ready(result.map(|()| buffer.filled().len()))
            }
            Poll::Pending if self.silence.too_long.load(Ordering::Acquire) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the broker is silent")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl futures::AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.transport.as_mut().poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.as_mut().poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.as_mut().poll_shutdown(context)
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

/// All as in tokio, but for the type of sockets.
impl Reactor for Sockets {
    type TcpStream = Socket;
    type Sleep = Sleep;

    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static> {
        // Nothing registers foreign sockets.
        Err::<Socket, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        self.0.sleep(duration)
    }

    fn interval(&self, duration: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(&self, address: SocketAddr) -> impl Future<Output = io::Result<Socket>> + Send + 'static {
        TcpStream::connect(address).map_ok(Socket::new)
    }
}
