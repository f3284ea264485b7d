//! Which lines of the policy are missing, found out before they are needed.

use futures::FutureExt;
use serde::Deserialize;
use vaultrs::api::transit::requests::RewrapDataRequest;

use super::{TransitVault, failure::Call, theirs};
use crate::{Finding, Vault, VaultError};

/// The least policy, for the mount `transit` and the key `tfe`.
pub const POLICY: &str = r#"path "transit/encrypt/tfe"     { capabilities = ["update"] }
path "transit/decrypt/tfe"     { capabilities = ["update"] }
path "transit/rewrap/tfe"      { capabilities = ["update"] }
path "transit/keys/tfe"        { capabilities = ["create", "read", "update"] }
path "transit/keys/tfe/rotate" { capabilities = ["update"] }"#;

impl TransitVault {
    /// Tries what is needed, except for rotating the key.
    pub async fn diagnose(&self) -> Vec<Finding> {
        const CONTEXT: &str = "diagnosis";
        let sealed = self.seal(CONTEXT, CONTEXT.as_bytes()).await;
        let opened = match &sealed {
            Ok(sealed) => self.open(CONTEXT, sealed).await.map(drop),
            Err(_) => Ok(()),
        };
        let rewrapped = match &sealed {
            Ok(sealed) => self.try_rewrap(CONTEXT, sealed).await,
            Err(_) => Ok(()),
        };
        let read = self.read_version().await;
        let rotation = self.may_rotate().await;
        let finding = |what: &str, result: Result<(), VaultError>| {
            let remedy = result.as_ref().err().map(remedy).unwrap_or_default();
            Finding::of(what, result, remedy)
        };
        vec![
            finding("seal", sealed.map(drop)),
            finding("open", opened),
            finding("seal anew", rewrapped),
            finding("read the key's versions", read.map(drop)),
            finding("rotate the key", rotation),
        ]
    }

    /// Whether the policy lets a value be sealed anew, with whatever version.
    async fn try_rewrap(&self, context: &str, sealed: &tfe_core::secret::Sealed) -> Result<(), VaultError> {
        use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
        let (mount, name) = (self.mount.clone(), self.key.clone());
        let (context, text) = (BASE64.encode(context), theirs(sealed)?);
        let call = Call::new(format!("{mount}/rewrap/{name}"), "update").with_value();
        let make = move |client: std::sync::Arc<vaultrs::client::VaultClient>| {
            let (mount, name, context, text) = (mount.clone(), name.clone(), context.clone(), text.clone());
            async move {
                let mut options = RewrapDataRequest::builder();
                options.context(context);
                vaultrs::transit::data::rewrap(&*client, &mount, &name, &text, Some(&mut options)).await
            }
            .boxed()
        };
        self.session.call(&call, make).await.map(drop)
    }

    /// Asks for the token's capabilities, since trying would rotate.
    async fn may_rotate(&self) -> Result<(), VaultError> {
        let path = format!("{}/keys/{}/rotate", self.mount, self.key);
        let capabilities = self.session.capabilities(&path).await?;
        let may = capabilities.iter().any(|capability| capability == "update" || capability == "root");
        if may { Ok(()) } else { Err(VaultError::Denied { path, capability: "update" }) }
    }
}

/// The answer to a question about capabilities.
#[derive(Debug, Deserialize)]
pub(super) struct Capabilities {
    pub(super) capabilities: Vec<String>,
}

fn remedy(error: &VaultError) -> String {
    match error {
        VaultError::Denied { path, capability } => format!("add to the policy: path \"{path}\" {{ capabilities = [\"{capability}\"] }}"),
        VaultError::Unavailable(_) => "unseal it, and check the address and the network".to_owned(),
        _ => "see the vault's own log".to_owned(),
    }
}
