//! What site administrators and founders of organizations do.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::transport::Client;
use crate::{error::ClientError, model::Rewrap};

#[derive(Deserialize)]
struct Key {
    version: u64,
}

#[derive(Deserialize)]
struct Keys {
    rewrap: Option<Rewrap>,
}

impl Client {
    /// Makes an organization, whose owner is whoever the token belongs to.
    pub async fn create_organization(&self, name: &str, email: &str) -> Result<(), ClientError> {
        let body = json!({ "data": { "type": "organizations", "attributes": { "name": name, "email": email } } });
        self.submit(Method::POST, "organizations", &body).await.map(drop)
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
