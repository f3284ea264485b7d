//! State versions: the history of a workspace's state, and its outputs.

use serde::{Deserialize, Serialize};

use crate::{
    blob::Blob,
    id::Id,
    record,
    record::{Field, Seal},
    run::Run,
    secret::Sealed,
    time::Timestamp,
    user::User,
    workspace::Workspace,
};

/// One state of a workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateVersion {
    /// Its id.
    pub id: Id<StateVersion>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The workspace.
    pub workspace_id: Id<Workspace>,
    /// The run that made it.
    pub run_id: Option<Id<Run>>,
    /// Who made it.
    pub created_by: Option<Id<User>>,
    /// Whether the content has come.
    pub status: StateStatus,
    /// Rises with each change of the state.
    pub serial: u64,
    /// Names the history that serials count in.
    pub lineage: String,
    /// Hex MD5 of the content.
    pub md5: String,
    /// Length of the content in bytes.
    pub size: u64,
    /// The state file.
    pub content: Option<Id<Blob>>,
    /// The state as JSON for other programs, where the client sent it.
    pub json_content: Option<Id<Blob>>,
    /// The engine's version that wrote it.
    pub terraform_version: Option<String>,
    /// Whether a run is still at work and will replace it.
    pub intermediate: bool,
    /// The state version that this one repeats.
    pub rolled_back_from: Option<Id<StateVersion>>,
    /// Whether an older or equal serial, or another lineage, was meant; none for versions of before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<bool>,
    /// What the state manages.
    pub resources: Vec<StateResource>,
}

/// Whether the content of a state version has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateStatus {
    /// Announced; the upload is awaited.
    Pending,
    /// Whole.
    Finalized,
    /// Given up: before the content came, or since another state was current when it came. It never was the current one.
    Discarded,
}

/// A resource in a state, for lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateResource {
    /// Its name in the configuration.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub resource_type: String,
    /// How many instances it has.
    pub count: u64,
    /// The module it is in, `root` at the top.
    pub module: String,
    /// The provider's address.
    pub provider: String,
}

/// An output value of a state version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateOutput {
    /// Its id.
    pub id: Id<StateOutput>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The state version.
    pub state_version_id: Id<StateVersion>,
    /// The workspace.
    pub workspace_id: Id<Workspace>,
    /// Its name.
    pub name: String,
    /// The JSON text of the value, sealed by the vault.
    pub value: Sealed,
    /// `string`, `number`, `bool`, `array` or `object`.
    pub kind: String,
    /// The engine's full type, as JSON.
    pub detailed_type: serde_json::Value,
    /// Whether the value is shown only to those who ask for it by id.
    pub sensitive: bool,
}

record!(StateVersion, STATE_VERSIONS = "state_versions", prefix: "sv",
    fields: [
        Field::refers("workspace_id", &["workspace_id"], "workspaces"),
        Field::at("run_id", &["run_id"]),
        Field::at("status", &["status"]),
    ],
    unique: [],
    indexes: [&["workspace_id", "status"], &["run_id"]]);

record!(StateOutput, STATE_OUTPUTS = "state_outputs", prefix: "wsout",
    fields: [Field::refers("state_version_id", &["state_version_id"], "state_versions")],
    unique: [],
    indexes: [&["state_version_id"]],
    seals: [StateOutput::VALUE]);

impl StateOutput {
    /// Where the value is.
    pub const VALUE: Seal = Seal { path: &["value"], context: "output:{id}" };
}
