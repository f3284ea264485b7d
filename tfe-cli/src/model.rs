//! What the API shows, as much of it as this client uses. Fields that a server does not send are empty.

use serde::{Deserialize, Serialize};

/// Who the token belongs to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Account {
    /// The user's id.
    pub id: String,
    /// The user's name.
    pub username: String,
    /// The user's address.
    #[serde(default)]
    pub email: Option<String>,
}

/// A workspace.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Workspace {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Whether somebody holds the lock.
    #[serde(default)]
    pub locked: bool,
    /// Where runs happen: remote, local or agent.
    #[serde(default)]
    pub execution_mode: String,
    /// The engine's version, or a constraint for it.
    #[serde(default)]
    pub terraform_version: String,
    /// Whether plans with changes are applied without asking.
    #[serde(default)]
    pub auto_apply: bool,
    /// How many resources the state holds.
    #[serde(default)]
    pub resource_count: u64,
    /// RFC 3339.
    #[serde(default)]
    pub updated_at: String,
    /// The newest run that was current.
    #[serde(default)]
    pub current_run_id: Option<String>,
}

/// A configuration, announced or uploaded.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigurationVersion {
    /// Its id.
    pub id: String,
    /// pending, uploaded or errored.
    pub status: String,
    /// Where to upload; only in the answer that made it.
    #[serde(default)]
    pub upload_url: Option<String>,
    /// Why it was refused.
    #[serde(default)]
    pub error_message: Option<String>,
}

/// A run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: String,
    /// Why it was started.
    #[serde(default)]
    pub message: String,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// Whether the plan found something to do.
    #[serde(default)]
    pub has_changes: bool,
    /// Whether it destroys.
    #[serde(default)]
    pub is_destroy: bool,
    /// Whether it ends after the plan.
    #[serde(default)]
    pub plan_only: bool,
    /// Whether it goes on without being asked.
    #[serde(default)]
    pub auto_apply: bool,
    /// Why it failed, where the log does not say.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Why it waits, if it does.
    #[serde(default)]
    pub waiting_reason: Option<String>,
    /// Its place in the queue, 1 for the next; 0 if it waits in none.
    #[serde(default)]
    pub position_in_queue: u64,
    /// The id of what it waits for, if that is one thing.
    #[serde(default)]
    pub blocked_by: Option<String>,
    /// What can be done with it now.
    #[serde(default)]
    pub actions: RunActions,
    /// Its plan.
    #[serde(default)]
    pub plan_id: Option<String>,
    /// Its apply.
    #[serde(default)]
    pub apply_id: Option<String>,
    /// Its workspace.
    #[serde(default)]
    pub workspace_id: Option<String>,
}

/// A server of the installation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its release.
    #[serde(default)]
    pub version: String,
    /// up, draining, lost or down.
    pub status: String,
    /// What it says of its parts: OK, DRAINING or ERROR.
    #[serde(default)]
    pub condition: String,
    /// RFC 3339.
    #[serde(default)]
    pub started_at: String,
    /// RFC 3339.
    #[serde(default)]
    pub last_seen_at: String,
}

/// A group of an organization's own workers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AgentPool {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether every workspace may use it.
    #[serde(default)]
    pub organization_scoped: bool,
    /// How many agents are there.
    #[serde(default)]
    pub agent_count: u64,
}

/// What can be done with a run now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RunActions {
    /// It can be cancelled.
    pub is_cancelable: bool,
    /// It waits for a decision and can be applied.
    pub is_confirmable: bool,
    /// It can be discarded.
    pub is_discardable: bool,
}

/// The plan or the apply of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Phase {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: String,
    /// Where its log is read; the address is a permission.
    #[serde(default, skip_serializing)]
    pub log_read_url: Option<String>,
    /// How many resources are or were added.
    #[serde(default)]
    pub resource_additions: Option<u64>,
    /// How many resources are or were changed.
    #[serde(default)]
    pub resource_changes: Option<u64>,
    /// How many resources are or were destroyed.
    #[serde(default)]
    pub resource_destructions: Option<u64>,
}

/// A version of a workspace's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StateVersion {
    /// Its id.
    pub id: String,
    /// The state's serial.
    pub serial: u64,
    /// RFC 3339.
    #[serde(default)]
    pub created_at: String,
    /// pending, finalized or discarded.
    #[serde(default)]
    pub status: String,
    /// Bytes.
    #[serde(default)]
    pub size: Option<u64>,
    /// What wrote it.
    #[serde(default)]
    pub terraform_version: Option<String>,
    /// The run that made it.
    #[serde(default)]
    pub run_id: Option<String>,
    /// Where its content is read; the address is a permission.
    #[serde(default, skip_serializing)]
    pub hosted_state_download_url: Option<String>,
}

/// A variable of a workspace.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Variable {
    /// Its id.
    pub id: String,
    /// Its name.
    pub key: String,
    /// Its value; none if it is sensitive.
    #[serde(default)]
    pub value: Option<String>,
    /// terraform or env.
    pub category: String,
    /// Whether the value is an HCL expression.
    #[serde(default)]
    pub hcl: bool,
    /// Whether the value is never shown.
    #[serde(default)]
    pub sensitive: bool,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
}

/// An output of a workspace's state.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its value; null if it is sensitive.
    #[serde(default)]
    pub value: serde_json::Value,
    /// Whether the value is hidden.
    #[serde(default)]
    pub sensitive: bool,
    /// The kind of value in a word, such as string or array.
    #[serde(default, rename = "type")]
    pub kind: String,
}

/// The restore that an installation comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Restoration {
    /// When it was done.
    pub restored_at: String,
    /// The id of the snapshot.
    pub snapshot: String,
    /// The moment that the data shows.
    pub reached: String,
    /// Whether runs wait for a person though they would apply by themselves.
    pub applies_paused: bool,
}

/// How far sealing everything anew is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrap {
    /// `running` or `finished`.
    pub status: String,
    /// The kind of records that it is at.
    pub kind: String,
    /// How many records it has looked at.
    pub seen: u64,
    /// How many of these it has sealed anew.
    pub changed: u64,
    /// Why it waits, if it does.
    pub error: Option<String>,
}
