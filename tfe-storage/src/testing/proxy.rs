//! A network that breaks when it is told to: a TCP proxy on loopback, for tests of failovers and lost answers.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
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

/// What happens to the next requests that contain certain bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The bytes, such as `COMMIT`.
    pub on: &'static [u8],
    /// What happens.
    pub damage: Damage,
    /// To how many requests.
    pub times: u32,
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The target does not get it, and the connection breaks.
    Lost,
    /// The target gets it, and the connection breaks before the answer.
    Unanswered,
    /// The proxy answers this instead of the target.
    Answered(&'static [u8]),
    /// The connection breaks after so many bytes of answers.
    Cut(usize),
    /// The target gets it only after this time.
    Delayed(Duration),
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

    /// Damages the next requests that fit; replaces an earlier fault.
    pub fn inject(&self, fault: Fault) {
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
    tokio::select! {
        _ = cuts.changed() => {}
        _ = relay(client, server, &shared) => {}
    }
}

/// Passes bytes both ways until one side ends or a fault breaks the connection.
async fn relay(mut client: TcpStream, mut server: TcpStream, shared: &Shared) -> io::Result<()> {
    let (mut client_in, mut client_out) = client.split();
    let (mut server_in, mut server_out) = server.split();
    let (mut request, mut answer) = (vec![0; BUFFER_LENGTH], vec![0; BUFFER_LENGTH]);
    let mut answers_left = usize::MAX;
    loop {
        tokio::select! {
            length = client_in.read(&mut request) => {
                let request = &request[..length?];
                if request.is_empty() {
                    return Ok(());
                }
                match damage(shared, request) {
                    Some(Damage::Lost) => return Ok(()),
                    Some(Damage::Unanswered) => return server_out.write_all(request).await,
                    Some(Damage::Answered(answer)) => return client_out.write_all(answer).await,
                    Some(Damage::Cut(length)) => answers_left = length,
                    Some(Damage::Delayed(time)) => tokio::time::sleep(time).await,
                    None => {}
                }
                server_out.write_all(request).await?;
            }
            length = server_in.read(&mut answer) => {
                let length = length?.min(answers_left);
                if length == 0 {
                    return Ok(());
                }
                client_out.write_all(&answer[..length]).await?;
                answers_left -= length;
            }
        }
    }
}

fn damage(shared: &Shared, request: &[u8]) -> Option<Damage> {
    let mut slot = lock(&shared.fault);
    let fault = slot.as_mut().filter(|fault| request.windows(fault.on.len()).any(|window| window == fault.on))?;
    let damage = fault.damage;
    fault.times -= 1;
    if fault.times == 0 {
        *slot = None;
    }
    Some(damage)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
