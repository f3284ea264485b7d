//! Workspaces, and who is asking.

use reqwest::Method;
use serde_json::json;

use super::transport::{Client, part};
use crate::{
    error::ClientError,
    model::{Account, Workspace},
};

impl Client {
    /// Who the token belongs to.
    pub async fn account(&self) -> Result<Account, ClientError> {
        self.get("account/details").await
    }

    /// The workspaces of an organization whose name contains the text.
    pub async fn workspaces(&self, organization: &str, search: &str) -> Result<Vec<Workspace>, ClientError> {
        let path = format!("organizations/{}/workspaces?search%5Bname%5D={}", part(organization), part(search));
        self.list(&path, usize::MAX).await
    }

    /// The workspace of that name.
    pub async fn workspace(&self, organization: &str, name: &str) -> Result<Workspace, ClientError> {
        let path = format!("organizations/{}/workspaces/{}", part(organization), part(name));
        self.get(&path).await.map_err(|error| match error {
            ClientError::NotFound { .. } => ClientError::NotFound { what: format!("workspace {organization}/{name}") },
            error => error,
        })
    }

    /// Makes a workspace.
    pub async fn create_workspace(&self, organization: &str, name: &str) -> Result<Workspace, ClientError> {
        let body = json!({ "data": { "type": "workspaces", "attributes": { "name": name } } });
        self.send(Method::POST, &format!("organizations/{}/workspaces", part(organization)), &body).await
    }
}
