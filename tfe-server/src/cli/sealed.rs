//! A configuration that lives as one sealed file, in an object store or on a disk, so that a fresh machine needs to know
//! only where it is and what opens it: a password, or a login to the vault.

use std::env;

use bytes::Bytes;
use object_store::{ObjectStoreExt, path::Path as ObjectPath};
use serde::{Deserialize, Serialize};
use tfe_core::secret::{Sealed, Secret};
use tfe_server::{
    backends::transit_settings,
    configuration::{Configuration, SETTINGS, Sources},
};
use tfe_storage::{TransitVault, Vault, open_objects, vault::Envelope};

use super::Failure;

/// What the seal is for.
const CONTEXT: &str = "configuration";
/// What a sealed file begins with.
const MARK: &str = "{\"tfe_sealed_configuration\"";
/// Longest configuration in bytes: all settings together are a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;
/// The settings of object stores, as the environment names them and as object stores do.
const OBJECT_SETTINGS: [(&str, &str); 6] = [
    ("TFE_OBJECT_STORAGE_S3_REGION", "region"),
    ("TFE_OBJECT_STORAGE_S3_ENDPOINT", "endpoint"),
    ("TFE_OBJECT_STORAGE_S3_ACCESS_KEY_ID", "access_key_id"),
    ("TFE_OBJECT_STORAGE_S3_SECRET_ACCESS_KEY", "secret_access_key"),
    ("TFE_OBJECT_STORAGE_AZURE_ACCOUNT_NAME", "account_name"),
    ("TFE_OBJECT_STORAGE_AZURE_ACCOUNT_KEY", "account_key"),
];

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    /// The format.
    tfe_sealed_configuration: u32,
    #[serde(flatten)]
    seal: Seal,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Seal {
    Password(Envelope),
    Vault(Sealed),
}

/// What opens a sealed configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    /// `TFE_CONFIG_PASSWORD`.
    Password,
    /// The vault of `TFE_VAULT_*`.
    Vault,
}

/// Whether a configuration is in an object store.
pub(crate) fn is_remote(place: &str) -> bool {
    ["s3://", "az://", "gs://"].iter().any(|scheme| place.starts_with(scheme))
}

/// The text of a configuration, opened if it is sealed.
pub(crate) async fn fetch(place: &str) -> Result<Secret, Failure> {
    let (objects, path) = object(place)?;
    let failed = |error: object_store::Error| format!("the configuration {place} cannot be read: {error}");
    let found = objects.get(&path).await.map_err(failed)?;
    if found.meta.size > MAX_BYTES {
        return Err(format!("{place} has {} bytes; a configuration has at most {MAX_BYTES}", found.meta.size).into());
    }
    let bytes = found.bytes().await.map_err(failed)?;
    let text = String::from_utf8(bytes.to_vec()).map_err(|_| format!("{place} is not UTF-8"))?;
    open(place, text).await
}

/// Opens a sealed text; one that is not sealed is left as it is.
pub(crate) async fn open(place: &str, text: String) -> Result<Secret, Failure> {
    if !text.starts_with(MARK) {
        return Ok(Secret::from(text));
    }
    let document: Document = serde_json::from_str(&text).map_err(|_| format!("{place} is damaged; seal the configuration once more"))?;
    let plain = match &document.seal {
        Seal::Password(envelope) => envelope.open(&password()?, CONTEXT, place)?,
        Seal::Vault(sealed) => vault().await?.open(CONTEXT, sealed).await?,
    };
    Ok(Secret::from(String::from_utf8(plain.to_vec())?))
}

/// Seals a text.
pub(crate) async fn seal(text: &str, with: With) -> Result<String, Failure> {
    let seal = match with {
        With::Password => Seal::Password(Envelope::seal(&password()?, CONTEXT, text.as_bytes())?),
        With::Vault => Seal::Vault(vault().await?.seal(CONTEXT, text.as_bytes()).await?),
    };
    Ok(serde_json::to_string(&Document { tfe_sealed_configuration: 1, seal })? + "\n")
}

/// Writes a file to an object store.
pub(crate) async fn put(place: &str, content: String) -> Result<(), Failure> {
    let (objects, path) = object(place)?;
    objects.put(&path, Bytes::from(content).into()).await.map_err(|error| format!("{place} cannot be written: {error}"))?;
    Ok(())
}

/// The object store and the path in it; credentials come from the environment.
fn object(place: &str) -> Result<(std::sync::Arc<dyn object_store::ObjectStore>, ObjectPath), Failure> {
    let (address, query) = place.split_once('?').map_or((place, String::new()), |(address, query)| (address, format!("?{query}")));
    let parts = address.rsplit_once('/').filter(|(parent, name)| !name.is_empty() && !parent.ends_with('/'));
    let (parent, name) = parts.ok_or_else(|| format!("{place} names no object; write it like s3://bucket/directory/configuration"))?;
    let fits = |(_, own): &&(&str, &str)| (place.starts_with("az:")) == own.starts_with("account");
    let mut options: Vec<_> =
        OBJECT_SETTINGS.iter().filter(fits).filter_map(|(name, own)| Some(((*own).to_owned(), variable(name)?))).collect();
    if options.iter().any(|(name, value)| name == "endpoint" && value.expose().starts_with("http:")) {
        options.push(("aws_allow_http".to_owned(), Secret::from("true")));
    }
    Ok((open_objects(&format!("{parent}{query}"), &options)?, ObjectPath::from(name)))
}

fn password() -> Result<Secret, Failure> {
    if let Some(path) = variable("TFE_CONFIG_PASSWORD_FILE") {
        let text = std::fs::read_to_string(path.expose()).map_err(|error| format!("TFE_CONFIG_PASSWORD_FILE cannot be read: {error}"))?;
        return Ok(Secret::from(text.trim_end_matches('\n')));
    }
    variable("TFE_CONFIG_PASSWORD")
        .ok_or_else(|| "the configuration is sealed with a password; give it in TFE_CONFIG_PASSWORD or TFE_CONFIG_PASSWORD_FILE".into())
}

/// The vault that the environment names; nothing else of the configuration is known yet.
async fn vault() -> Result<TransitVault, Failure> {
    let is_of_vault = |name: &str| {
        SETTINGS.iter().any(|setting| setting.key.starts_with("vault.") && name.trim_end_matches("_FILE") == setting.environment)
    };
    let environment = env::vars().filter(|(name, _)| is_of_vault(name)).collect();
    let sources = Sources { environment, ..Sources::default() };
    let configuration = Configuration::read(&sources, &|path| std::fs::read_to_string(path))?;
    let vault = configuration
        .vault
        .ok_or("the configuration is sealed by a vault; name it with TFE_VAULT_USE_EXTERNAL=true, TFE_VAULT_ADDRESS and a login")?;
    Ok(TransitVault::connect(transit_settings(&vault)).await?)
}

fn variable(name: &str) -> Option<Secret> {
    env::var(name).ok().filter(|value| !value.is_empty()).map(Secret::from)
}
