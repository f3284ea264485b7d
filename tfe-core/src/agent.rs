//! Who does jobs: the workers of the installation, and the agents of an organization's pools.
//!
//! Both are the same program. They differ in whose jobs they may take, which follows from the token they join with.

use serde::{Deserialize, Serialize};

use crate::{
    error::Invalid,
    id::{Id, Identified},
    name,
    organization::Organization,
    record,
    record::Field,
    time::Timestamp,
    workspace::Workspace,
};

/// The queue of the installation's own workers.
pub const FLEET: &str = "fleet";
/// How long after its last word an agent counts as lost, in seconds: it speaks at least every ten.
pub const SILENCE_SECONDS: i64 = 30;
/// How long an agent that is gone stays in lists, in seconds: long enough to look into last night's trouble.
pub const MEMORY_SECONDS: i64 = 24 * 60 * 60;

/// A group of agents of an organization, for workspaces that must not run on the installation's own workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentPool {
    /// Its id.
    pub id: Id<AgentPool>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The organization.
    pub organization_id: Id<Organization>,
    /// What its administrators choose.
    pub settings: AgentPoolSettings,
    /// The workspaces that may use it, if it is not for the whole organization.
    #[serde(default)]
    pub allowed_workspaces: Vec<Id<Workspace>>,
}

/// What the administrators of a pool choose. Stored, accepted and shown in this one form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AgentPoolSettings {
    /// Its name, unique in the organization.
    pub name: String,
    /// Whether every workspace of the organization may use it.
    #[serde(default = "yes")]
    pub organization_scoped: bool,
}

/// One worker, as it was heard of last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// Its id.
    pub id: Id<Agent>,
    /// When it joined first.
    pub created_at: Timestamp,
    /// Whose jobs it takes: [`FLEET`], or the id of its pool.
    pub queue: String,
    /// Its name, unique in its queue and the same after a restart.
    pub name: String,
    /// Its release.
    pub version: String,
    /// From where it calls; none for one inside a server.
    pub address: Option<String>,
    /// How many jobs it does at once.
    pub concurrency: u64,
    /// How many it was doing.
    pub working: u64,
    /// When it was heard of last.
    pub last_seen_at: Timestamp,
    /// Whether it said that it leaves.
    pub left: bool,
}

/// What can be said of an agent from here (`agents` in the vendor's API description).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It could take a job.
    Idle,
    /// It does jobs.
    Busy,
    /// It has been silent for too long.
    Unknown,
    /// It said that it leaves.
    Exited,
}

record!(AgentPool, AGENT_POOLS = "agent_pools", prefix: "apool",
    fields: [Field::refers("organization_id", &["organization_id"], "organizations"), Field::at("name", &["settings", "name"])],
    unique: [&["organization_id", "name"]],
    indexes: []);

record!(Agent, AGENTS = "agents", prefix: "agent",
    fields: [Field::at("queue", &["queue"]), Field::at("name", &["name"])],
    unique: [&["queue", "name"]],
    indexes: []);

fn yes() -> bool {
    true
}

impl AgentPoolSettings {
    /// Says what is wrong with them.
    pub fn check(&self) -> Result<(), Invalid> {
        name::check_slug("name", "Name", &self.name)
    }
}

impl AgentPool {
    /// Whether a workspace of the organization may use it.
    pub fn serves(&self, workspace: &Id<Workspace>) -> bool {
        self.settings.organization_scoped || self.allowed_workspaces.contains(workspace)
    }
}

impl Agent {
    /// What can be said of it now.
    pub fn presence(&self, now: Timestamp) -> Presence {
        match self {
            Self { left: true, .. } => Presence::Exited,
            _ if self.last_seen_at.plus_seconds(SILENCE_SECONDS) <= now => Presence::Unknown,
            Self { working: 0, .. } => Presence::Idle,
            _ => Presence::Busy,
        }
    }

    /// Whether it is there and will take jobs.
    pub fn is_present(&self, now: Timestamp) -> bool {
        matches!(self.presence(now), Presence::Idle | Presence::Busy)
    }

    /// Whether it need not be remembered any more.
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.last_seen_at.plus_seconds(MEMORY_SECONDS) <= now
    }
}

/// The id of the pool whose queue that is; none for the fleet.
pub fn pool_of(queue: &str) -> Option<Id<AgentPool>> {
    queue.starts_with(AgentPool::PREFIX).then(|| Id::from(queue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_silent_is_not_counted_on() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let agent = Agent {
            id: Id::from("agent-1"),
            created_at: at(0),
            queue: FLEET.to_owned(),
            name: "one".to_owned(),
            version: "0.1.0".to_owned(),
            address: None,
            concurrency: 4,
            working: 0,
            last_seen_at: at(0),
            left: false,
        };
        assert_eq!(agent.presence(at(SILENCE_SECONDS - 1)), Presence::Idle);
        assert_eq!(Agent { working: 1, ..agent.clone() }.presence(at(1)), Presence::Busy);
        assert_eq!(agent.presence(at(SILENCE_SECONDS)), Presence::Unknown);
        assert_eq!(Agent { left: true, ..agent.clone() }.presence(at(1)), Presence::Exited);
        assert!(!agent.is_forgotten(at(MEMORY_SECONDS - 1)));
        assert!(agent.is_forgotten(at(MEMORY_SECONDS)));
    }

    #[test]
    fn a_pool_that_is_not_for_all_serves_those_it_names() {
        let settings = AgentPoolSettings { name: "pool".to_owned(), organization_scoped: false };
        let pool = AgentPool {
            id: Id::from("apool-1"),
            created_at: Timestamp::from_millis(0),
            organization_id: Id::from("org-1"),
            settings,
            allowed_workspaces: vec![Id::from("ws-1")],
        };
        assert!(pool.serves(&Id::from("ws-1")));
        assert!(!pool.serves(&Id::from("ws-2")));
        assert_eq!(pool_of("apool-1"), Some(pool.id));
        assert_eq!(pool_of(FLEET), None);
    }
}
