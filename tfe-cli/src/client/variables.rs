//! Variables of workspaces.

use reqwest::Method;
use serde_json::{Value, json};
use tfe_core::secret::Secret;

use super::transport::{Client, part};
use crate::{error::ClientError, model::Variable};

/// A variable to set.
#[derive(Debug, Clone)]
pub struct NewVariable {
    /// Its name.
    pub key: String,
    /// Its value; a secret here whether it is sensitive there or not.
    pub value: Secret,
    /// terraform or env.
    pub category: String,
    /// Whether the value is an HCL expression.
    pub hcl: bool,
    /// Whether the value is never to be shown.
    pub sensitive: bool,
}

impl Client {
    /// The variables of a workspace.
    pub async fn variables(&self, workspace_id: &str) -> Result<Vec<Variable>, ClientError> {
        self.list(&format!("workspaces/{}/vars", part(workspace_id)), usize::MAX).await
    }

    /// Makes a variable, or changes the one of that name and category.
    pub async fn set_variable(&self, workspace_id: &str, new: &NewVariable) -> Result<Variable, ClientError> {
        let known = self.variables(workspace_id).await?;
        match known.iter().find(|known| known.key == new.key && known.category == new.category) {
            Some(known) => {
                // A value that was sensitive stays so.
                let sensitive = new.sensitive || known.sensitive;
                self.update_variable(workspace_id, &known.id, &NewVariable { sensitive, ..new.clone() }).await
            }
            None => self.create_variable(workspace_id, new).await,
        }
    }

    /// Makes a variable; refused if there is one of that name and category.
    pub async fn create_variable(&self, workspace_id: &str, new: &NewVariable) -> Result<Variable, ClientError> {
        self.send(Method::POST, &format!("workspaces/{}/vars", part(workspace_id)), &document(new)).await
    }

    /// Changes the variable of that id to what is given.
    pub async fn update_variable(&self, workspace_id: &str, id: &str, new: &NewVariable) -> Result<Variable, ClientError> {
        let path = format!("workspaces/{}/vars/{}", part(workspace_id), part(id));
        self.send(Method::PATCH, &path, &document(new)).await
    }

    /// Deletes a variable.
    pub async fn delete_variable(&self, workspace_id: &str, id: &str) -> Result<(), ClientError> {
        let path = format!("workspaces/{}/vars/{}", part(workspace_id), part(id));
        self.submit(Method::DELETE, &path, &json!({})).await.map(drop)
    }
}

fn document(new: &NewVariable) -> Value {
    let NewVariable { key, value, category, hcl, sensitive } = new;
    let attributes = json!({ "key": key, "value": value.expose(), "category": category, "hcl": hcl, "sensitive": sensitive });
    json!({ "data": { "type": "vars", "attributes": attributes } })
}
