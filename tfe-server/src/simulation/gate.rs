//! What every call of a simulated process passes: a process that is frozen stands still there and goes on later with what it knew,
//! one that died never comes through.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// The life of one process.
#[derive(Debug, Default)]
pub(super) struct Gate {
    standing: Mutex<Standing>,
    /// Wakes in the order of waiting, unlike a watch, which wakes in any.
    changed: Notify,
}

/// What a process does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Standing {
    #[default]
    Running,
    Frozen,
    Dead,
}

impl Gate {
    pub(super) fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing follows death.
    pub(super) fn set(&self, next: Standing) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if *standing != Standing::Dead {
            *standing = next;
        }
        drop(standing);
        self.changed.notify_waiters();
    }

    /// Returns while the process runs.
    pub(super) async fn pass(&self) {
        self.until(Standing::Running).await;
    }

    /// Returns once the process is dead.
    pub(super) async fn died(&self) {
        self.until(Standing::Dead).await;
    }

    async fn until(&self, wanted: Standing) {
        while self.standing() != wanted {
            let changed = self.changed.notified();
            if self.standing() == wanted {
                return;
            }
            changed.await;
        }
    }
}
