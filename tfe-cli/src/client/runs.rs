//! Runs and their phases.

use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;
use serde_json::json;
use url::Url;

use super::transport::{Client, part};
use crate::{
    error::ClientError,
    model::{Phase, Run},
};

/// How much of a log is asked for at once: what servers give at most.
const LOG_BYTES: &str = "65536";

/// A run to start.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NewRun {
    /// The workspace.
    #[serde(skip)]
    pub workspace_id: String,
    /// The configuration; none for the workspace's newest.
    #[serde(skip)]
    pub configuration_version_id: Option<String>,
    /// Why, for those who look at it later.
    pub message: String,
    /// End after the plan.
    pub plan_only: bool,
    /// Go on without being asked.
    pub auto_apply: bool,
    /// Destroy everything.
    pub is_destroy: bool,
    /// Write a state also when nothing changes.
    pub allow_empty_apply: bool,
    /// Only bring the state up to date.
    pub refresh_only: bool,
    /// Only these addresses.
    pub target_addrs: Vec<String>,
    /// Replace these addresses.
    pub replace_addrs: Vec<String>,
}

/// What can be done with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Confirm the plan and apply it.
    Apply,
    /// Give the plan up.
    Discard,
    /// Stop what is going on, gracefully.
    Cancel,
    /// Stop it at once, after a graceful stop did not help; the state may be lost.
    ForceCancel,
}

impl Client {
    /// Starts a run.
    pub async fn create_run(&self, new: &NewRun) -> Result<Run, ClientError> {
        let link = |kind: &str, id: &str| json!({ "data": { "type": kind, "id": id } });
        let mut relationships = json!({ "workspace": link("workspaces", &new.workspace_id) });
        if let Some(id) = &new.configuration_version_id {
            relationships["configuration-version"] = link("configuration-versions", id);
        }
        let body = json!({ "data": { "type": "runs", "attributes": new, "relationships": relationships } });
        self.send(Method::POST, "runs", &body).await
    }

    /// The run of that id.
    pub async fn run(&self, id: &str) -> Result<Run, ClientError> {
        self.get(&format!("runs/{}", part(id))).await
    }

    /// The newest runs of a workspace, newest first.
    pub async fn runs(&self, workspace_id: &str, limit: usize) -> Result<Vec<Run>, ClientError> {
        self.list(&format!("workspaces/{}/runs", part(workspace_id)), limit).await
    }

    /// Decides about a run. The server does it soon, not at once; refused if the run is not where it can be done.
    pub async fn act(&self, run_id: &str, action: Action, comment: &str) -> Result<(), ClientError> {
        let word = match action {
            Action::Apply => "apply",
            Action::Discard => "discard",
            Action::Cancel => "cancel",
            Action::ForceCancel => "force-cancel",
        };
        let path = format!("runs/{}/actions/{word}", part(run_id));
        self.submit(Method::POST, &path, &json!({ "comment": comment })).await.map(drop)
    }

    /// The plan of that id.
    pub async fn plan(&self, id: &str) -> Result<Phase, ClientError> {
        self.get(&format!("plans/{}", part(id))).await
    }

    /// The apply of that id.
    pub async fn apply_phase(&self, id: &str) -> Result<Phase, ClientError> {
        self.get(&format!("applies/{}", part(id))).await
    }

    /// The next piece of a phase's log, at most 64 KiB, from its [`Phase::log_read_url`]. The offset counts bytes with
    /// the markers. The server holds the request for a while if there is nothing new, then answers with nothing.
    pub async fn log(&self, log_read_url: &str, offset: u64) -> Result<Bytes, ClientError> {
        let mut url = Url::parse(log_read_url).map_err(|error| self.unexpected(format!("the address of a log is not valid: {error}")))?;
        url.query_pairs_mut().append_pair("limit", LOG_BYTES).append_pair("offset", &offset.to_string());
        self.read_signed(url.as_str()).await
    }
}
