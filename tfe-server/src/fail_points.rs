//! Where a server can be made to die while it is replaced; see [`tfe_storage::fail_point`].

use tfe_storage::fail_points;

fail_points! {
    /// The steps of an upgrade in the process that is replaced, in their order.
    UPGRADE:
    /// Somebody asked.
    UPGRADE_ASKED = "upgrade.asked",
    /// The successor was started, and has nothing.
    UPGRADE_STARTED = "upgrade.started",
    /// It was sent the sockets and the lock.
    UPGRADE_HANDED_OVER = "upgrade.handed-over",
    /// It said that it serves.
    UPGRADE_READY = "upgrade.ready",
    /// Whoever asked knows, and both serve.
    UPGRADE_ANSWERED = "upgrade.answered",
    /// This process has finished what it had begun.
    UPGRADE_FINISHED = "upgrade.finished",
}

fail_points! {
    /// The steps of an upgrade in the successor, in their order.
    TAKE_OVER:
    /// It lives, and has nothing.
    TAKE_OVER_STARTED = "take-over.started",
    /// It has the sockets and the lock.
    TAKE_OVER_INHERITED = "take-over.inherited",
    /// It has opened the data, and could serve.
    TAKE_OVER_OPENED = "take-over.opened",
    /// It said so.
    TAKE_OVER_READY = "take-over.ready",
}
