//! A network that breaks when it is told to: a TCP proxy on loopback, for tests of failovers and lost answers.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// Bytes that are passed on at once.
const BUFFER_LENGTH: usize = 64 * 1024;

/// Passes connections on to a target that can change, like the address of a primary that moves.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    fault: Mutex<Option<Fault>>,
    /// Counts the cuts; connections end when it changes.
    cuts: watch::Sender<u64>,
}

/// What happens to the next request that contains certain bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The bytes, such as `COMMIT`.
    pub on: &'static [u8],
    /// Whether the target still gets the request; the client gets no answer in either case.
    pub delivered: bool,
}

impl Proxy {
    /// Listens on a free port and passes connections on.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (cuts, _) = watch::channel(0);
        let shared = Arc::new(Shared { target: Mutex::new(Some(target)), fault: Mutex::default(), cuts });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections; new ones go to `target`, or are refused if there is none.
    pub fn switch(&self, target: Option<SocketAddr>) {
        *lock(&self.shared.target) = target;
        self.cut();
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Breaks the next request that fits.
    pub fn break_next(&self, fault: Fault) {
        *lock(&self.shared.fault) = Some(fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let Some(target) = *lock(&shared.target) else { continue };
        tokio::spawn(pass(client, target, shared.clone()));
    }
}

async fn pass(client: TcpStream, target: SocketAddr, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    tokio::select! {
        _ = cuts.changed() => {}
        _ = requests(client_in, server_out, &shared) => {}
        _ = answers(server_in, client_out) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_LENGTH];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let fault = take_fault(shared, &buffer[..length]);
        if fault.as_ref().is_none_or(|fault| fault.delivered) {
            to.write_all(&buffer[..length]).await?;
        }
        if fault.is_some() {
            return Ok(());
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await.map(drop)
}

fn take_fault(shared: &Shared, request: &[u8]) -> Option<Fault> {
    let mut fault = lock(&shared.fault);
    let fits = fault.as_ref().is_some_and(|fault| request.windows(fault.on.len()).any(|window| window == fault.on));
    if fits { fault.take() } else { None }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
