//! Configurations: announced, then uploaded.

use reqwest::Method;
use serde_json::json;

use super::transport::{Client, part};
use crate::{error::ClientError, model::ConfigurationVersion};

impl Client {
    /// Announces a configuration that starts no run by itself. A speculative one is good for plans only.
    pub async fn create_configuration_version(&self, workspace_id: &str, speculative: bool) -> Result<ConfigurationVersion, ClientError> {
        let attributes = json!({ "auto-queue-runs": false, "speculative": speculative });
        let body = json!({ "data": { "type": "configuration-versions", "attributes": attributes } });
        self.send(Method::POST, &format!("workspaces/{}/configuration-versions", part(workspace_id)), &body).await
    }

    /// The configuration of that id.
    pub async fn configuration_version(&self, id: &str) -> Result<ConfigurationVersion, ClientError> {
        self.get(&format!("configuration-versions/{}", part(id))).await
    }

    /// Uploads the content of a configuration that was just announced: a gzipped tar, see [`pack`](crate::pack).
    pub async fn upload(&self, version: &ConfigurationVersion, archive: Vec<u8>) -> Result<(), ClientError> {
        let url = version.upload_url.as_deref().ok_or_else(|| self.unexpected("a new configuration version has no upload address"))?;
        self.upload_to(url, archive).await
    }
}
