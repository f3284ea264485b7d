//! Asking a server where its services are.
//!
//! The document is that of terraform's remote service discovery: `/.well-known/terraform.json`, names of services with
//! addresses, which may be relative to the document's own.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::CredentialsError;
use crate::client::{builder, causes};

const DOCUMENT: &str = "/.well-known/terraform.json";
/// How long the server may take; the document is small and constant.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Largest document that is read, in bytes; terraform reads as much.
const MAX_BYTES: usize = 1024 * 1024;
/// The names of the API, of which newer servers give only some.
const API_NAMES: [&str; 3] = ["tfe.v2", "tfe.v2.1", "tfe.v2.2"];
/// The ports that a client may listen on if the server does not say (terraform's login protocol, version 1).
const DEFAULT_PORTS: (u16, u16) = (1024, 65_535);

/// What a server offers and where.
#[derive(Debug, Clone)]
pub struct Services {
    /// The API, with a slash at the end.
    pub api: Option<Url>,
    /// Signing in with a browser.
    pub login: Option<LoginService>,
}

/// How to sign in with a browser.
#[derive(Debug, Clone)]
pub struct LoginService {
    /// Where the user says yes.
    pub authorization: Url,
    /// Where a code becomes a token.
    pub token: Url,
    /// What this client is called there.
    pub client: String,
    /// First and last port that the answer may be sent to.
    pub ports: (u16, u16),
}

/// Asks the server.
pub(super) async fn ask(host: &str) -> Result<Services, CredentialsError> {
    let wrong = |reason: String| CredentialsError::Discovery { host: host.to_owned(), reason };
    let client = builder().timeout(TIMEOUT).build().map_err(|error| wrong(causes(&error)))?;
    let sent = client.get(format!("https://{host}{DOCUMENT}")).send().await;
    let mut response = sent.and_then(reqwest::Response::error_for_status).map_err(|error| wrong(causes(&error.without_url())))?;
    let base = response.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| wrong(causes(&error.without_url())))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BYTES {
            return Err(wrong("its answer is too large".to_owned()));
        }
    }
    let document = serde_json::from_slice(&body).map_err(|error| wrong(format!("its answer is not JSON: {error}")))?;
    services(&document, &base).map_err(wrong)
}

/// Reads a document of services.
pub(super) fn services(document: &Value, base: &Url) -> Result<Services, String> {
    let api = API_NAMES.iter().find_map(|name| document[*name].as_str()).map(|text| address(text, base)).transpose()?;
    let login = document.get("login.v1").filter(|login| login.is_object()).map(|login| login_service(login, base)).transpose()?;
    Ok(Services { api: api.map(with_slash), login })
}

fn login_service(document: &Value, base: &Url) -> Result<LoginService, String> {
    let text = |name: &str| document[name].as_str().ok_or_else(|| format!("login.v1 has no {name}"));
    Ok(LoginService {
        authorization: address(text("authz")?, base)?,
        token: address(text("token")?, base)?,
        client: text("client")?.to_owned(),
        ports: ports(&document["ports"])?,
    })
}

fn ports(value: &Value) -> Result<(u16, u16), String> {
    if value.is_null() {
        return Ok(DEFAULT_PORTS);
    }
    let ports: Option<(u16, u16)> = match value.as_array().map(Vec::as_slice) {
        Some([first, last]) => port(first).zip(port(last)),
        _ => None,
    };
    ports.filter(|(first, last)| first <= last).ok_or_else(|| "the ports of login.v1 are not a first and a last port".to_owned())
}

/// A number in a configuration is a float, one in a document from a server an integer.
fn port(value: &Value) -> Option<u16> {
    format!("{}", value.as_f64()?).parse().ok().filter(|port| *port > 0)
}

fn address(text: &str, base: &Url) -> Result<Url, String> {
    let url = base.join(text).map_err(|error| format!("{text:?} is not an address: {error}"))?;
    if matches!(url.scheme(), "https" | "http") { Ok(url) } else { Err(format!("{text:?} is not an https address")) }
}

/// Paths are joined to it, which would replace a last part without a slash.
fn with_slash(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_may_be_relative() {
        let base = Url::parse("https://tfe.example.com:8443/.well-known/terraform.json").unwrap();
        let document = json!({ "tfe.v2.1": "/api/v2", "login.v1": { "authz": "/oauth/a", "token": "https://t.example/t", "client": "c" } });
        let services = services(&document, &base).unwrap();
        assert_eq!(services.api.unwrap().as_str(), "https://tfe.example.com:8443/api/v2/");
        let login = services.login.unwrap();
        assert_eq!(login.authorization.as_str(), "https://tfe.example.com:8443/oauth/a");
        assert_eq!((login.token.as_str(), login.ports), ("https://t.example/t", DEFAULT_PORTS));
    }

    #[test]
    fn ports_are_a_first_and_a_last() {
        assert_eq!(ports(&json!([10_000, 10_010.0])), Ok((10_000, 10_010)));
        for wrong in [json!([2, 1]), json!([0, 1]), json!([1]), json!("1"), json!([1.5, 2]), json!([1, 70_000])] {
            assert!(ports(&wrong).is_err(), "{wrong}");
        }
    }
}
