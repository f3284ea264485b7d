//! A connection to RabbitMQ that is ready for use.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures::StreamExt;
use lapin::{Channel, Connection, ConnectionProperties, Event, options::ConfirmSelectOptions};
use tokio::time::timeout;

use super::{
    address::Address,
    socket,
    topology::{Step, Topology},
};
use crate::{failure::Failure, link::Connect};

/// How often the state of a connection is looked at.
const PULSE: Duration = Duration::from_secs(5);

/// A connection and one channel of it, on which the broker confirms what is published.
pub(super) struct Session {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
    /// Queues that are known to be there, so that each is declared once in a session.
    declared: Mutex<HashSet<Option<Step>>>,
}

/// Makes sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) address: Address,
    pub(super) topology: Topology,
    /// What the broker shows to its operators.
    pub(super) purpose: &'static str,
}

impl Session {
    /// Makes a queue unless it is known to be there.
    pub(super) async fn declare(&self, topology: &Topology, step: Option<Step>) -> lapin::Result<()> {
        if !self.declared().contains(&step) {
            topology.declare(&self.channel, step).await?;
            self.declared().insert(step);
        }
        Ok(())
    }

    /// Says that queues may have vanished.
    pub(super) fn forget_queues(&self) {
        self.declared().clear();
    }

    fn declared(&self) -> MutexGuard<'_, HashSet<Option<Step>>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Connect for Sessions {
    type Session = Arc<Session>;

    fn broker(&self) -> &'static str {
        "rabbitmq"
    }

    async fn connect(&self) -> Result<Arc<Session>, Failure> {
        let properties = ConnectionProperties::default().with_connection_name(self.purpose.into());
        let connect = |uri, _| async move { Ok(socket::connect(uri).await?) };
        let connection = Connection::connector(self.address.uri(), socket::runtime(), connect, properties).await.map_err(Failure::new)?;
        let channel = connection.create_channel().await.map_err(Failure::new)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(Failure::new)?;
        let session = Session { connection, channel, declared: Mutex::default() };
        session.declare(&self.topology, None).await.map_err(Failure::new)?;
        Ok(Arc::new(session))
    }

    async fn ended(&self, session: &Arc<Session>) -> Failure {
        let mut events = std::pin::pin!(session.connection.events_listener());
        // An end that comes without an event is seen by the state.
        while session.connection.status().connected() {
            if let Ok(Some(Event::Error(error))) = timeout(PULSE, events.next()).await {
                return Failure::new(error);
            }
        }
        Failure::new("the connection ended")
    }
}
