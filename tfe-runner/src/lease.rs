//! Keeping the lease of a job, whatever else is being done for it: large uploads and slow disks must not lose it.

use std::{sync::Arc, time::Duration};

use tfe_core::job::LEASE_SECONDS;
use tokio_util::sync::CancellationToken;

use crate::control::{Control, ControlError, Ticket};

/// How often the lease is renewed: three times before it would end.
const HEARTBEAT: Duration = Duration::from_secs(LEASE_SECONDS.unsigned_abs() / 3);
/// The pause after a renewal that was not answered.
const PAUSE: Duration = Duration::from_millis(300);

/// A lease that is renewed until this is dropped.
pub(crate) struct Lease {
    lost: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// The job is another's.
pub(crate) struct Lost;

impl Lease {
    /// Renews the ticket's lease from now on. It was given a moment ago, so the first time is a heartbeat away.
    pub(crate) fn keep(control: Arc<dyn Control>, ticket: Ticket) -> Self {
        let lost = CancellationToken::new();
        let task = tokio::spawn(renew(control, ticket, lost.clone()));
        Self { lost, task }
    }

    /// Does work until it is done or the job is another's. While the control plane is away nobody knows, and the work goes on.
    pub(crate) async fn hold<T, E: From<Lost>>(&self, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        tokio::select! {
            done = work => done,
            () = self.lost.cancelled() => Err(Lost.into()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn renew(control: Arc<dyn Control>, ticket: Ticket, lost: CancellationToken) {
    let mut pause = HEARTBEAT;
    loop {
        tokio::time::sleep(pause).await;
        pause = match control.heartbeat(&ticket).await {
            Ok(_) => HEARTBEAT,
            Err(ControlError::Unavailable(_)) => PAUSE,
            Err(ControlError::Fenced | ControlError::Refused(_)) => return lost.cancel(),
        };
    }
}
