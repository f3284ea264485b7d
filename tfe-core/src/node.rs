//! The servers of an installation, as they tell of themselves.

use serde::{Deserialize, Serialize};

use crate::{id::Id, record, record::Field, time::Timestamp};

/// How often a node tells of itself, in seconds, and reads whether it should drain: what an operator asks for happens
/// within this time.
pub const HEARTBEAT_SECONDS: i64 = 1;
/// How long after its last word a node counts as gone, in seconds.
pub const SILENCE_SECONDS: i64 = 10;
/// How far apart the clocks of two nodes may be, in seconds: half of what a lease leaves between two renewals that are on time.
pub const MAX_CLOCK_SKEW_SECONDS: i64 = 2;
/// How long a node that is gone stays in lists, in seconds.
pub const MEMORY_SECONDS: i64 = 24 * 60 * 60;

/// One server process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: Id<Node>,
    /// When it was there first.
    pub created_at: Timestamp,
    /// Its name, unique in the installation and the same after a restart.
    pub name: String,
    /// Its release.
    pub version: String,
    /// When the process that runs now began.
    pub started_at: Timestamp,
    /// When it told of itself last.
    pub last_seen_at: Timestamp,
    /// Whether an operator wants it to take no new work.
    #[serde(default)]
    pub drain_requested: bool,
    /// Whether it said that it ends.
    #[serde(default)]
    pub left: bool,
    /// What it says of its parts, such as `OK`.
    pub condition: String,
}

/// What can be said of a node from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It works.
    Up,
    /// It works and takes no new work.
    Draining,
    /// It has been silent for too long.
    Lost,
    /// It ended in order.
    Down,
}

record!(Node, NODES = "nodes", prefix: "node",
    fields: [Field::at("name", &["name"])],
    unique: [&["name"]],
    indexes: []);

impl Node {
    /// What can be said of it now.
    pub fn standing(&self, now: Timestamp) -> Standing {
        if self.left {
            Standing::Down
        } else if self.last_seen_at.plus_seconds(SILENCE_SECONDS) <= now {
            Standing::Lost
        } else if self.drain_requested {
            Standing::Draining
        } else {
            Standing::Up
        }
    }

    /// How far its clock is ahead of one that shows `now`, in seconds, if that is more than leases bear. It may be further ahead.
    pub fn clock_skew_seconds(&self, now: Timestamp) -> Option<i64> {
        let ahead = (self.last_seen_at.as_millis() - now.as_millis()) / 1000;
        (!self.left && ahead > MAX_CLOCK_SKEW_SECONDS).then_some(ahead)
    }

    /// Whether it need not be remembered any more.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.last_seen_at.plus_seconds(MEMORY_SECONDS) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            id: Id::from("node-1"),
            created_at: at(0),
            name: "one".to_owned(),
            version: "0.1.0".to_owned(),
            started_at: at(0),
            last_seen_at: at(0),
            drain_requested: false,
            left: false,
            condition: "OK".to_owned(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn a_silent_node_is_lost_and_one_that_ended_is_down() {
        let node = node();
        assert_eq!(node.standing(at(1)), Standing::Up);
        assert_eq!(Node { drain_requested: true, ..node.clone() }.standing(at(1)), Standing::Draining);
        assert_eq!(node.standing(at(SILENCE_SECONDS)), Standing::Lost);
        assert_eq!(Node { left: true, ..node.clone() }.standing(at(SILENCE_SECONDS)), Standing::Down);
        assert!(node.is_forgotten(at(MEMORY_SECONDS)));
    }

    #[test]
    fn a_clock_that_is_ahead_is_noticed_and_one_that_ended_is_not() {
        assert_eq!(node().clock_skew_seconds(at(-MAX_CLOCK_SKEW_SECONDS)), None);
        assert_eq!(node().clock_skew_seconds(at(-MAX_CLOCK_SKEW_SECONDS - 1)), Some(MAX_CLOCK_SKEW_SECONDS + 1));
        assert_eq!(node().clock_skew_seconds(at(100)), None);
        assert_eq!(Node { left: true, ..node() }.clock_skew_seconds(at(-100)), None);
    }
}
