//! Keeping a job while something is done that may take longer than its lease.

use std::convert::Infallible;

use crate::{
    control::{Control, ControlError, Ticket},
    follow::HEARTBEAT,
};

/// Does the work and renews the lease meanwhile. The work is given up when another runner has the job; a directive is
/// left to whoever follows the job, since nothing was started yet.
pub(crate) async fn kept<T>(control: &dyn Control, ticket: &Ticket, work: impl Future<Output = T>) -> Result<T, ControlError> {
    tokio::select! {
        done = work => Ok(done),
        lost = renewed(control, ticket) => match lost {
            Ok(never) => match never {},
            Err(error) => Err(error),
        },
    }
}

/// Renews until the job is lost. A control plane that does not answer may answer the next time.
async fn renewed(control: &dyn Control, ticket: &Ticket) -> Result<Infallible, ControlError> {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        match control.heartbeat(ticket).await {
            Ok(_) | Err(ControlError::Unavailable(_)) => {}
            Err(error) => return Err(error),
        }
    }
}
