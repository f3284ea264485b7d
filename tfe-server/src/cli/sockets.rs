//! Where the listening sockets come from: the server before this one, a service manager, or this process.

use std::{net, os::unix::net::UnixListener, path::Path};

use listenfd::ListenFd;
use tfe_server::configuration::Configuration;
use tokio::net::TcpListener;

use super::{
    Failure, compose,
    handover::{self, Inheritance},
};

/// Most sockets of a service manager: for clients and for metrics.
const MAX_ACTIVATED: usize = 2;

/// The sockets that a service manager has opened (`sd_listen_fds(3)`): for clients first, then for metrics.
#[derive(Debug, Default)]
pub(crate) struct Activated(Vec<net::TcpListener>);

/// The sockets of a server.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) main: net::TcpListener,
    pub(crate) metrics: Option<net::TcpListener>,
    pub(crate) control: UnixListener,
}

impl Activated {
    /// Takes them, before there are threads: children must not believe that the sockets are theirs.
    pub(crate) fn take() -> Result<Self, Failure> {
        let mut offered = ListenFd::from_env();
        if offered.len() > MAX_ACTIVATED {
            return Err(format!("{} sockets were handed over; the server takes one for clients and one for metrics", offered.len()).into());
        }
        let taken = (0..offered.len()).filter_map(|index| offered.take_tcp_listener(index).transpose());
        Ok(Self(taken.collect::<Result<_, _>>().map_err(|error| format!("a socket that was handed over cannot be used: {error}"))?))
    }
}

impl Sockets {
    /// Those of the server before this one, except that metrics may have been turned on or off.
    pub(crate) async fn inherited(configuration: &Configuration, heritage: &Inheritance) -> Result<Self, Failure> {
        let metrics = heritage.metrics.as_ref().map(net::TcpListener::try_clone).transpose()?;
        Ok(Self {
            main: heritage.main.try_clone()?,
            metrics: metrics_of(configuration, metrics).await?,
            control: heritage.control.try_clone()?,
        })
    }

    /// Those of the service manager, and new ones for what it has none.
    pub(crate) async fn open(configuration: &Configuration, activated: Activated, directory: &Path) -> Result<Self, Failure> {
        let mut activated = activated.0.into_iter();
        let main = match activated.next() {
            Some(main) => main,
            None => compose::listener(configuration).await?.into_std()?,
        };
        let control = handover::bind(directory)
            .map_err(|error| format!("upgrades cannot be asked for in {}: {error}; check who may write there", directory.display()))?;
        Ok(Self { main, metrics: metrics_of(configuration, activated.next()).await?, control })
    }
}

/// The socket for metrics, if there are any: the one that is there, or a new one.
async fn metrics_of(configuration: &Configuration, present: Option<net::TcpListener>) -> Result<Option<net::TcpListener>, Failure> {
    let Some(port) = configuration.metrics_port else { return Ok(None) };
    if present.is_some() {
        return Ok(present);
    }
    let address = net::SocketAddr::new(configuration.listen.ip(), port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("{address} cannot be listened on for metrics: {error}; choose another port with TFE_METRICS_HTTP_PORT"))?;
    Ok(Some(listener.into_std()?))
}

/// The same socket for the asynchronous side.
pub(crate) fn listening(socket: &net::TcpListener) -> Result<TcpListener, Failure> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket)?)
}
