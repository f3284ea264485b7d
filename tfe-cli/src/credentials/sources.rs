//! The places where credentials are, read in terraform's order.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};
use tfe_core::secret::Secret;
use url::Url;

use super::{
    CredentialsError,
    discovery::{self, Services},
    environment,
    hcl::{self, Item, Value},
};
use crate::private_file;

/// What is known of a host without asking it.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its token.
    pub(super) token: Option<Secret>,
    /// Where its services are, if a `host` block says so.
    pub(super) services: Option<Services>,
}

/// Where to look.
#[derive(Debug, Default)]
pub(super) struct Sources {
    configuration: Option<PathBuf>,
    credentials: Option<PathBuf>,
    /// Tokens of the environment, by host.
    environment: Vec<(String, Secret)>,
}

impl Sources {
    /// What terraform would read in this environment.
    pub(super) fn of_process() -> Self {
        let home = env::var_os("HOME").map(PathBuf::from);
        let named = env::var_os("TF_CLI_CONFIG_FILE").filter(|name| !name.is_empty()).map(PathBuf::from);
        let texts = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self {
            configuration: named.or_else(|| home.as_ref().map(|home| home.join(".terraformrc"))),
            credentials: home.map(|home| home.join(".terraform.d/credentials.tfrc.json")),
            environment: texts.filter_map(|(name, value)| environment::token(&name, &value)).collect(),
        }
    }

    /// Everything that is known, by host.
    pub(super) fn read(&self) -> Result<BTreeMap<String, Known>, CredentialsError> {
        let mut known = BTreeMap::new();
        // From the weakest to the strongest: later ones replace earlier ones.
        if let Some(path) = &self.credentials {
            read_credentials(path, &mut known)?;
        }
        if let Some(path) = &self.configuration {
            read_configuration(path, &mut known)?;
        }
        for (host, token) in &self.environment {
            entry(&mut known, host).token = Some(token.clone());
        }
        Ok(known)
    }

    /// Puts a token into the file of credentials and leaves everything else in it as it is.
    pub(super) fn store(&self, host: &str, token: &Secret) -> Result<(), CredentialsError> {
        let no_home = || CredentialsError::File { path: "~".to_owned(), reason: "HOME is not set".to_owned() };
        let path = self.credentials.as_ref().ok_or_else(no_home)?;
        let mut document = read_json(path)?.unwrap_or_else(|| json!({}));
        let root = document.as_object_mut().ok_or_else(|| wrong(path, "it is not a JSON object"))?;
        let hosts = root.entry("credentials").or_insert_with(|| json!({}));
        let hosts = hosts.as_object_mut().ok_or_else(|| wrong(path, "credentials is not a JSON object"))?;
        hosts.insert(host.to_owned(), json!({ "token": token.expose() }));
        let text = serde_json::to_vec_pretty(&document).map_err(|error| wrong(path, error))?;
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).and_then(|()| private_file::write(path, &text)).map_err(|error| wrong(path, error))
    }
}

fn read_credentials(path: &Path, known: &mut BTreeMap<String, Known>) -> Result<(), CredentialsError> {
    let document = read_json(path)?.unwrap_or_default();
    for (host, content) in document["credentials"].as_object().into_iter().flatten() {
        if let Some(token) = content["token"].as_str() {
            entry(known, host).token = Some(token.into());
        }
    }
    Ok(())
}

fn read_json(path: &Path) -> Result<Option<Json>, CredentialsError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    // The error has the place only: its text could quote a token.
    let reason = |error: serde_json::Error| wrong(path, format!("line {} is not valid JSON", error.line()));
    serde_json::from_str(&text).map(Some).map_err(reason)
}

fn read_configuration(path: &Path, known: &mut BTreeMap<String, Known>) -> Result<(), CredentialsError> {
    let Some(text) = read_text(path)? else { return Ok(()) };
    for item in hcl::parse(&text).map_err(|reason| wrong(path, reason))? {
        let Some(host) = item.labels.first() else { continue };
        match item.name.as_str() {
            "credentials" => {
                if let Some(token) = item.value.key("token").and_then(Value::text) {
                    entry(known, host).token = Some(token.into());
                }
            }
            "host" => entry(known, host).services = Some(services(path, host, &item)?),
            _ => {}
        }
    }
    Ok(())
}

fn services(path: &Path, host: &str, block: &Item) -> Result<Services, CredentialsError> {
    let bad = |reason: String| wrong(path, format!("host {host:?}: {reason}"));
    let document = block.value.key("services").map(to_json).unwrap_or_default();
    let base = Url::parse(&format!("https://{host}/")).map_err(|error| bad(error.to_string()))?;
    discovery::services(&document, &base).map_err(bad)
}

/// The same value as a server would send it, so that both are understood by the same code.
fn to_json(value: &Value) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Number(number) => json!(number),
        Value::Word => Json::Null,
        Value::List(values) => values.iter().map(to_json).collect(),
        Value::Object(items) => Json::Object(items.iter().map(|item| (item.name.clone(), to_json(&item.value))).collect()),
    }
}

fn entry<'a>(known: &'a mut BTreeMap<String, Known>, host: &str) -> &'a mut Known {
    known.entry(host.to_lowercase()).or_default()
}

/// The content, or none if there is no such file.
fn read_text(path: &Path) -> Result<Option<String>, CredentialsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(path, error)),
    }
}

fn wrong(path: &Path, reason: impl ToString) -> CredentialsError {
    CredentialsError::File { path: path.display().to_string(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(directory: &Path) -> Sources {
        Sources { configuration: Some(directory.join("rc")), credentials: Some(directory.join("d/c.json")), environment: Vec::new() }
    }

    fn token(sources: &Sources, host: &str) -> Option<String> {
        sources.read().unwrap().remove(host)?.token.map(|token| token.expose().to_owned())
    }

    #[test]
    fn the_environment_wins_over_the_configuration_over_the_stored() {
        let directory = tempfile::tempdir().unwrap();
        let mut sources = sources(directory.path());
        assert!(sources.read().unwrap().is_empty());
        sources.store("a.example", &"stored".into()).unwrap();
        sources.store("b.example", &"other".into()).unwrap();
        assert_eq!(token(&sources, "a.example").as_deref(), Some("stored"));
        fs::write(directory.path().join("rc"), "credentials \"A.example\" { token = \"configured\" }").unwrap();
        assert_eq!(token(&sources, "a.example").as_deref(), Some("configured"));
        sources.environment = vec![("a.example".to_owned(), "environment".into())];
        assert_eq!(token(&sources, "a.example").as_deref(), Some("environment"));
        assert_eq!(token(&sources, "b.example").as_deref(), Some("other"));
    }

    #[test]
    fn a_host_block_says_where_services_are() {
        let directory = tempfile::tempdir().unwrap();
        let block = r#"host "a" { services = { "tfe.v2" = "http://127.0.0.1:1/api/v2/", "login.v1" = { authz = "https://a/x",
            token = "https://a/y", client = "cli", ports = [10000, 10010] } } }"#;
        fs::write(directory.path().join("rc"), block).unwrap();
        let services = sources(directory.path()).read().unwrap().remove("a").unwrap().services.unwrap();
        assert_eq!(services.api.unwrap().as_str(), "http://127.0.0.1:1/api/v2/");
        assert_eq!(services.login.unwrap().ports, (10_000, 10_010));
    }

    #[test]
    fn a_broken_file_is_reported_and_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let sources = sources(directory.path());
        sources.store("a", &"t".into()).unwrap();
        let (path, broken) = (directory.path().join("d/c.json"), "{\"credentials\": secret");
        fs::write(&path, broken).unwrap();
        let text = sources.store("a", &"t".into()).unwrap_err().to_string();
        assert!(text.contains("line 1") && !text.contains("secret"), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    }
}
