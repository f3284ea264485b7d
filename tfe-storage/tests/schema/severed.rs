//! A network that breaks at the n-th thing that is sent over it, as it looks to a database when a process is killed there.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

/// Passes connections on to a database until it has passed so many messages; from then on none gets through.
#[derive(Debug)]
pub(crate) struct Severed {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    broken: Arc<Notify>,
    _accepting: JoinSet<()>,
}

/// When the network breaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// How many messages are passed before.
    pub(crate) after: u32,
    /// Whether the database gets the next one, and only its answer is lost.
    pub(crate) arrives: bool,
}

impl Severed {
    pub(crate) async fn start(database: SocketAddr, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, passed) = (listener.local_addr().unwrap(), Arc::new(AtomicU32::new(0)));
        let broken = Arc::new(Notify::new());
        let breaks = broken.clone();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, database, cut, passed.clone(), breaks.clone()));
            }
        });
        Self { address, broken, _accepting: accepting }
    }

    /// Waits until it breaks.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }
}

async fn pass(mut client: TcpStream, database: SocketAddr, cut: Cut, passed: Arc<AtomicU32>, breaks: Arc<Notify>) {
    let mut server = TcpStream::connect(database).await.unwrap();
    let (mut request, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            length = client.read(&mut request) => {
                let Ok(length @ 1..) = length else { return };
                let before = passed.fetch_add(1, Ordering::SeqCst);
                if before < cut.after || (before == cut.after && cut.arrives) {
                    let _ = server.write_all(&request[..length]).await;
                }
                if before >= cut.after {
                    breaks.notify_one();
                    return;
                }
            }
            length = server.read(&mut answer) => {
                let Ok(length @ 1..) = length else { return };
                let _ = client.write_all(&answer[..length]).await;
            }
        }
    }
}
