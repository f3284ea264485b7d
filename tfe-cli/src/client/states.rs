//! States and their outputs.

use bytes::Bytes;

use super::transport::{Client, part};
use crate::{
    error::ClientError,
    model::{Output, StateVersion},
};

impl Client {
    /// The state versions of a workspace, newest first.
    pub async fn state_versions(&self, organization: &str, workspace: &str, limit: usize) -> Result<Vec<StateVersion>, ClientError> {
        let (organization, workspace) = (part(organization), part(workspace));
        let filters = format!("filter%5Borganization%5D%5Bname%5D={organization}&filter%5Bworkspace%5D%5Bname%5D={workspace}");
        self.list(&format!("state-versions?{filters}"), limit).await
    }

    /// The state version of that id.
    pub async fn state_version(&self, id: &str) -> Result<StateVersion, ClientError> {
        self.get(&format!("state-versions/{}", part(id))).await
    }

    /// The current state version of a workspace.
    pub async fn current_state_version(&self, workspace_id: &str) -> Result<StateVersion, ClientError> {
        self.get(&format!("workspaces/{}/current-state-version", part(workspace_id))).await.map_err(|error| match error {
            ClientError::NotFound { .. } => ClientError::NotFound { what: "a state of this workspace".to_owned() },
            error => error,
        })
    }

    /// The content at an address that the server gave, such as [`StateVersion::hosted_state_download_url`]. The token
    /// goes along to the API's own server only.
    pub async fn download(&self, url: &str) -> Result<Bytes, ClientError> {
        self.read(url).await
    }

    /// The outputs of a workspace's current state.
    pub async fn outputs(&self, workspace_id: &str) -> Result<Vec<Output>, ClientError> {
        self.list(&format!("workspaces/{}/current-state-version-outputs", part(workspace_id)), usize::MAX).await
    }
}
