//! Which services nodes talk through: RabbitMQ or Redis for hints, Redis for signals and counts. Each is optional; without
//! them a node looks by itself, which costs up to a second where it would have been told.

use std::sync::Arc;

use tfe_core::secret::Secret;
use tfe_queue::{Coordination, CoordinationOptions, MemoryCoordination, MemoryQueue, OpenError, Queue, QueueOptions};

/// The addresses of the services, which may hold passwords.
#[derive(Debug, Clone, Default)]
pub struct Brokers {
    /// Where hints go: `amqp://…` or `redis://…`; none for this process's memory.
    pub queue: Option<Secret>,
    /// Where signals and counts go: `redis://…`; none for this process's memory.
    pub coordination: Option<Secret>,
}

impl Brokers {
    /// The queue of the installation of that name. A service that is away is no error; it is connected to once it is there.
    pub(crate) fn queue(&self, installation: &str) -> Result<Arc<dyn Queue>, OpenError> {
        let Some(url) = &self.queue else { return Ok(Arc::new(MemoryQueue::new())) };
        let mut options = QueueOptions::default();
        options.name = named(installation);
        tfe_queue::open_queue(url.expose(), options)
    }

    /// The coordination of the installation of that name.
    pub(crate) fn coordination(&self, installation: &str) -> Result<Arc<dyn Coordination>, OpenError> {
        let Some(url) = &self.coordination else { return Ok(Arc::new(MemoryCoordination::new())) };
        let mut options = CoordinationOptions::default();
        options.prefix = named(installation);
        tfe_queue::open_coordination(url.expose(), options)
    }
}

/// What belongs to an installation in a service that others may use too.
fn named(installation: &str) -> String {
    format!("tfe-{installation}")
}
