//! Where a RabbitMQ is.

use std::{fmt, str::FromStr};

use lapin::uri::{AMQPScheme, AMQPUri};

use crate::open::OpenError;

/// Seconds between signs of life, of which the broker sends two. The URL's `heartbeat` is not heeded, since a broker
/// that is silent for longer is taken as dead.
const HEARTBEAT_SECONDS: u16 = 5;

/// An address of RabbitMQ. Its `Debug` tells nothing, since the password is in there.
#[derive(Clone)]
pub(super) struct Address(AMQPUri);

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, OpenError> {
        let malformed = OpenError::Malformed("amqp://user:password@host:5672/%2f or amqps://user:password@host:5671/%2f");
        let mut uri = AMQPUri::from_str(url).map_err(|_| malformed)?;
        uri.query.heartbeat = Some(HEARTBEAT_SECONDS);
        Ok(Self(uri))
    }

    pub(super) fn uri(&self) -> AMQPUri {
        self.0.clone()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

/// Whether the connection is encrypted.
pub(super) fn is_encrypted(uri: &AMQPUri) -> bool {
    uri.scheme == AMQPScheme::AMQPS
}
