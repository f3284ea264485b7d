//! Duties: background work that one node at a time does for the installation, under a lease.
//!
//! Doing such work twice would do no harm, since every change is version-checked; the lease saves the work and
//! makes it certain who is behind. Its record is checked in the commits of the work: a node that was frozen past the
//! end of its lease finds the record changed, and its late writes are refused.

use serde::{Deserialize, Serialize};

use crate::{id::Id, record, time::Timestamp};

/// How long a duty stays with a node that does not renew it, in seconds: it is renewed each second.
pub const LEASE_SECONDS: i64 = 4;

/// Who has a duty until when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Duty {
    /// Its id, which names it.
    pub id: Id<Duty>,
    /// When somebody had it first.
    pub created_at: Timestamp,
    /// The name of the node that has it.
    pub holder: String,
    /// When that node's process began, so that a node that was restarted is not taken for itself.
    pub process: Timestamp,
    /// When the holder took it.
    pub since: Timestamp,
    /// When it ends unless renewed.
    pub expires_at: Timestamp,
    /// For how long nobody had had it when it was taken, in milliseconds: while the whole installation was down.
    #[serde(default)]
    pub gap_millis: u64,
}

record!(Duty, DUTIES = "duties", prefix: "duty", fields: [], unique: [], indexes: []);

impl Duty {
    /// The id of the duty of that name.
    pub fn id_of(name: &str) -> Id<Self> {
        Id::from(format!("duty-{name}").as_str())
    }

    /// What becomes of a duty when this process of a node asks for it: it has it, or somebody else does.
    pub fn taken(present: Option<&Self>, name: &str, holder: &str, process: Timestamp, now: Timestamp) -> Option<Self> {
        let expires_at = now.plus_seconds(LEASE_SECONDS);
        match present {
            Some(duty) if duty.holder == holder && duty.process == process => Some(Self { expires_at, ..duty.clone() }),
            // The same node, restarted: its earlier process is gone, or about to go, since it held the node's lock.
            Some(duty) if duty.holder == holder || duty.expires_at <= now => Some(Self {
                holder: holder.to_owned(),
                process,
                since: now,
                expires_at,
                gap_millis: now.millis_since(duty.expires_at.plus_seconds(-LEASE_SECONDS)),
                ..duty.clone()
            }),
            Some(_) => None,
            None => Some(Self {
                id: Self::id_of(name),
                created_at: now,
                holder: holder.to_owned(),
                process,
                since: now,
                expires_at,
                gap_millis: 0,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn one_node_has_a_duty_until_its_lease_ends() {
        let first = Duty::taken(None, "loop", "a", at(0), at(10)).unwrap();
        assert_eq!(Duty::taken(Some(&first), "loop", "b", at(0), at(10 + LEASE_SECONDS - 1)), None);
        let renewed = Duty::taken(Some(&first), "loop", "a", at(0), at(12)).unwrap();
        assert_eq!((renewed.since, renewed.expires_at), (at(10), at(12 + LEASE_SECONDS)));
        let second = Duty::taken(Some(&renewed), "loop", "b", at(0), at(12 + LEASE_SECONDS)).unwrap();
        assert_eq!((second.holder.as_str(), second.since), ("b", at(12 + LEASE_SECONDS)));
    }

    #[test]
    fn a_restarted_node_takes_its_duty_over_from_itself_and_knows_of_the_gap() {
        let first = Duty::taken(None, "loop", "a", at(0), at(10)).unwrap();
        let again = Duty::taken(Some(&first), "loop", "a", at(11), at(12)).unwrap();
        assert_eq!((again.since, again.gap_millis), (at(12), 2000));
        let later = Duty::taken(Some(&first), "loop", "b", at(100), at(110)).unwrap();
        assert_eq!(later.gap_millis, 100_000);
    }
}
