//! Configuration versions: the uploaded files that a run plans.

use serde::{Deserialize, Serialize};

use crate::{blob::Blob, id::Id, record, record::Field, time::Timestamp, workspace::Workspace};

/// One upload of configuration files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigurationVersion {
    /// Its id.
    pub id: Id<ConfigurationVersion>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The workspace.
    pub workspace_id: Id<Workspace>,
    /// How far the upload is.
    pub status: UploadStatus,
    /// Whether a run is queued as soon as it is uploaded.
    pub auto_queue_runs: bool,
    /// Whether only plans may use it.
    pub speculative: bool,
    /// Whether it is used by a saved plan first and is not yet the workspace's configuration.
    pub provisional: bool,
    /// The branch it comes from, if it comes from one. Of two speculative plans of a branch only the newer one matters.
    #[serde(default)]
    pub branch: Option<String>,
    /// What made it, such as `tfe-api`.
    pub source: String,
    /// The archive.
    pub archive: Option<Id<Blob>>,
    /// Why the upload was refused.
    pub error: Option<String>,
    /// When it was uploaded.
    pub uploaded_at: Option<Timestamp>,
}

/// How far the upload of a configuration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadStatus {
    /// Nothing has come yet.
    Pending,
    /// It can be used.
    Uploaded,
    /// What came was refused.
    Errored,
}

record!(ConfigurationVersion, CONFIGURATION_VERSIONS = "configuration_versions", prefix: "cv",
    fields: [Field::refers("workspace_id", &["workspace_id"], "workspaces")],
    unique: [],
    indexes: [&["workspace_id"]]);
