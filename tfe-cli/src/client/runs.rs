//! Runs and their phases.

use reqwest::Method;
use serde::Serialize;
use serde_json::json;

use super::transport::{Client, part};
use crate::{
    error::ClientError,
    model::{Phase, Run},
};

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

    /// Decides about a run.
    pub async fn decide(&self, run_id: &str, action: Action, comment: &str) -> Result<(), ClientError> {
        let word = match action {
            Action::Apply => "apply",
            Action::Discard => "discard",
            Action::Cancel => "cancel",
        };
        let path = format!("runs/{}/actions/{word}", part(run_id));
        self.act(Method::POST, &path, &json!({ "comment": comment })).await.map(drop)
    }

    /// The plan of that id.
    pub async fn plan(&self, id: &str) -> Result<Phase, ClientError> {
        self.get(&format!("plans/{}", part(id))).await
    }

    /// The apply of that id.
    pub async fn apply(&self, id: &str) -> Result<Phase, ClientError> {
        self.get(&format!("applies/{}", part(id))).await
    }
}
