//! What site administrators and founders of organizations do.

use bytes::Bytes;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::transport::{Client, part};
use crate::{
    error::ClientError,
    model::{AgentPool, Node, Restoration, Rewrap},
};

#[derive(Deserialize)]
struct Key {
    version: u64,
}

#[derive(Deserialize)]
struct Made {
    token: String,
}

/// Most nodes or pools that are listed.
const MAX_LISTED: usize = 1_000;

#[derive(Deserialize)]
struct Keys {
    rewrap: Option<Rewrap>,
}

#[derive(Deserialize)]
struct Restored {
    restoration: Option<Restoration>,
}

impl Client {
    /// Makes an organization, whose owner is whoever the token belongs to.
    pub async fn create_organization(&self, name: &str, email: &str) -> Result<(), ClientError> {
        let body = json!({ "data": { "type": "organizations", "attributes": { "name": name, "email": email } } });
        self.submit(Method::POST, "organizations", &body).await.map(drop)
    }

    /// The servers of the installation.
    pub async fn nodes(&self) -> Result<Vec<Node>, ClientError> {
        self.list("admin/nodes", MAX_LISTED).await
    }

    /// Asks a server to take no new work, or to take it again.
    pub async fn drain_node(&self, name: &str, drain: bool) -> Result<Node, ClientError> {
        let action = if drain { "drain" } else { "undrain" };
        self.send(Method::POST, &format!("admin/nodes/{}/actions/{action}", part(name)), &Value::Null).await
    }

    /// The agent pools of an organization.
    pub async fn agent_pools(&self, organization: &str) -> Result<Vec<AgentPool>, ClientError> {
        self.list(&format!("organizations/{}/agent-pools", part(organization)), MAX_LISTED).await
    }

    /// Makes an agent pool.
    pub async fn create_agent_pool(&self, organization: &str, name: &str) -> Result<AgentPool, ClientError> {
        let body = json!({ "data": { "type": "agent-pools", "attributes": { "name": name } } });
        self.send(Method::POST, &format!("organizations/{}/agent-pools", part(organization)), &body).await
    }

    /// Makes a token with which agents join a pool. It is shown once.
    pub async fn create_agent_token(&self, pool: &str, description: &str) -> Result<String, ClientError> {
        let body = json!({ "data": { "type": "authentication-tokens", "attributes": { "description": description } } });
        let path = format!("agent-pools/{}/authentication-tokens", part(pool));
        Ok(self.send::<Made>(Method::POST, &path, &body).await?.token)
    }

    /// An archive for whoever helps: a compressed tar, without secrets.
    pub async fn support_bundle(&self) -> Result<Bytes, ClientError> {
        self.read_api("admin/support-bundle").await
    }

    /// The restore that the installation comes from; none if it was never restored.
    pub async fn restoration(&self) -> Result<Option<Restoration>, ClientError> {
        Ok(self.get::<Restored>("admin/restoration").await?.restoration)
    }

    /// Lets runs apply by themselves again after a restore.
    pub async fn resume_applies(&self) -> Result<Option<Restoration>, ClientError> {
        Ok(self.send::<Restored>(Method::POST, "admin/restoration/actions/resume-applies", &Value::Null).await?.restoration)
    }

    /// Makes a new version of the key that seals secrets, and gives its number.
    pub async fn rotate_key(&self) -> Result<u64, ClientError> {
        Ok(self.send::<Key>(Method::POST, "admin/keys/actions/rotate", &Value::Null).await?.version)
    }

    /// Begins to seal everything anew with the newest key version; it goes on in the background.
    pub async fn begin_rewrap(&self) -> Result<(), ClientError> {
        self.submit(Method::POST, "admin/keys/actions/rewrap", &Value::Null).await.map(drop)
    }

    /// How far sealing anew is; none if there never was one.
    pub async fn rewrap_progress(&self) -> Result<Option<Rewrap>, ClientError> {
        Ok(self.get::<Keys>("admin/keys").await?.rewrap)
    }
}
