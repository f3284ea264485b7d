//! A stretch of network that can break.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Forwards connections to a server.
pub(crate) struct Proxy {
    address: SocketAddr,
    target: String,
    network: watch::Sender<Network>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Network {
    Works,
    /// Connections stay, new ones come about, and no byte passes: what a stopped process looks like.
    Frozen,
    /// No connection stays or comes about.
    Broken,
}

impl Proxy {
    /// Stands before the server of a URL.
    pub(crate) async fn before(url: &str, network: Network) -> Self {
        let target = url.rsplit(['/', '@']).find(|part| part.contains(':')).unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (network, state) = watch::channel(network);
        let task = tokio::spawn(accept(listener, target.clone(), state));
        Self { address, target, network, task }
    }

    /// The URL with this in the place of the server.
    pub(crate) fn url(&self, url: &str) -> String {
        url.replace(&self.target, &self.address.to_string())
    }

    pub(crate) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Drops all connections; new ones are fine.
    pub(crate) fn cut(&self) {
        self.set(Network::Broken);
        self.set(Network::Works);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: String, network: watch::Receiver<Network>) {
    while let Ok((client, _)) = listener.accept().await {
        let (target, mut network) = (target.clone(), network.clone());
        network.mark_unchanged();
        tokio::spawn(async move {
            if *network.borrow() == Network::Broken {
                return;
            }
            let Ok(server) = TcpStream::connect(target).await else { return };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::select! {
                () = pump(from_client, to_server, network.clone()) => {}
                () = pump(from_server, to_client, network.clone()) => {}
                () = broken(network) => {}
            }
        });
    }
}

/// Returns when connections do not stay any more, also if they did again meanwhile.
async fn broken(mut network: watch::Receiver<Network>) {
    loop {
        let before = *network.borrow_and_update();
        if network.changed().await.is_err() {
            return;
        }
        let after = *network.borrow();
        if after == Network::Broken || (before == Network::Works && after == Network::Works) {
            return;
        }
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut network: watch::Receiver<Network>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        if network.wait_for(|network| *network != Network::Frozen).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
