//! The first administrator, organization and token of a new server (Terraform Enterprise, "Initial Admin Creation
//! Token"), without a browser.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use serde_json::json;
use tfe_core::secret::Secret;
use tokio::time::Instant;
use url::Url;

use crate::{
    Access, Client, ClientError, Host,
    client::{builder, part},
};

/// How long a server may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// The pause between two questions whether it is.
const READY_PAUSE: Duration = Duration::from_millis(200);
/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The name by which configurations know a server that is reached over HTTP: names below `localhost` never leave the
/// machine, and the CLI refuses module addresses with a host that has no dot.
const LOCAL_NAME: &str = "tfe.localhost";

/// Who is created.
#[derive(Debug, Clone)]
pub struct FirstAdmin {
    /// The name to sign in with.
    pub username: String,
    /// Where notices go.
    pub email: String,
    /// The password to sign in with.
    pub password: Secret,
    /// The name of the organization to make.
    pub organization: String,
}

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The server does not answer, or not in time.
    #[error("{url} is not ready: {reason}; start the server there and try again")]
    NotReady {
        /// Where.
        url: String,
        /// What it said.
        reason: String,
    },
    /// The server does not take the token.
    #[error(
        "{url} does not create a first administrator: it has users already, the token is not the one in {directory}, or the time for it is over; \
         restart the server to get more time"
    )]
    NotOffered {
        /// Where.
        url: String,
        /// Where the token was read.
        directory: String,
    },
    /// The server did not like what it was told.
    #[error("{0}")]
    Refused(String),
    /// The API did not do it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Something on this machine is in the way.
    #[error("{0}")]
    Local(String),
}

#[derive(Deserialize)]
struct Created {
    token: String,
}

/// Creates them, and writes `demo.json` and `terraform.rc` into the directory. `token` is what the server left in its
/// data directory, or offers to those whom the operator allows. Once more is fine: then the earlier token is used.
pub async fn bootstrap(
    url: &Url,
    data_directory: &Path,
    token: &Secret,
    first: &FirstAdmin,
    authority: Option<&Path>,
) -> Result<Access, BootstrapError> {
    let base = url.as_str().trim_end_matches('/').to_owned();
    let http = http(authority)?;
    ready(&http, &base).await?;
    let address = format!("{base}/admin/initial-admin-user?token={}", part(token.expose()));
    let body = json!({ "username": first.username, "email": first.email, "password": first.password.expose() });
    let answer = http.post(&address).json(&body).send().await;
    let answer = answer.map_err(|error| not_ready(&base, error.without_url()))?;
    let status = answer.status();
    if status == reqwest::StatusCode::NOT_FOUND {
        return Err(BootstrapError::NotOffered { url: base, directory: data_directory.display().to_string() });
    }
    let text = answer.text().await.map_err(|error| not_ready(&base, error.without_url()))?;
    if !status.is_success() {
        return Err(BootstrapError::Refused(format!("the server refused the administrator: {text}")));
    }
    let created: Created =
        serde_json::from_str(&text).map_err(|_| BootstrapError::Refused("the server's answer has no token".to_owned()))?;
    let access = access(url, &base, data_directory, Secret::from(created.token), &first.organization, authority)?;
    access.write(data_directory).map_err(|error| BootstrapError::Local(format!("{}: {error}", data_directory.display())))?;
    client(&access)?.create_organization(&first.organization, &first.email).await?;
    Ok(access)
}

/// The access of an earlier time, with this address, if its token is still good.
pub async fn resume(url: &Url, data_directory: &Path, authority: Option<&Path>) -> Result<Option<Access>, BootstrapError> {
    let Some(earlier) = Access::read(data_directory) else { return Ok(None) };
    let base = url.as_str().trim_end_matches('/');
    ready(&http(authority)?, base).await?;
    let access = access(url, base, data_directory, earlier.token, &earlier.organization, authority)?;
    if client(&access)?.account().await.is_err() {
        return Ok(None);
    }
    access.write(data_directory).map_err(|error| BootstrapError::Local(format!("{}: {error}", data_directory.display())))?;
    Ok(Some(access))
}

fn access(
    url: &Url,
    base: &str,
    directory: &Path,
    token: Secret,
    organization: &str,
    authority: Option<&Path>,
) -> Result<Access, BootstrapError> {
    let directory = std::path::absolute(directory).map_err(|error| BootstrapError::Local(error.to_string()))?;
    // With HTTPS the CLI asks the server itself, so the name must lead to it.
    let hostname = match (url.scheme(), url.host_str(), url.port()) {
        ("https", Some(host), Some(port)) => format!("{host}:{port}"),
        ("https", Some(host), None) => host.to_owned(),
        _ => LOCAL_NAME.to_owned(),
    };
    Ok(Access {
        url: base.to_owned(),
        hostname,
        organization: organization.to_owned(),
        token,
        terraform_rc: directory.join("terraform.rc"),
        ca_file: authority.map(Path::to_owned),
    })
}

fn client(access: &Access) -> Result<Client, ClientError> {
    let api = Url::parse(&format!("{}/api/v2/", access.url)).map_err(|error| ClientError::Local(error.to_string()))?;
    Client::new(&Host { name: access.hostname.clone(), api, token: access.token.clone(), authority: access.ca_file.clone() })
}

fn http(authority: Option<&Path>) -> Result<reqwest::Client, BootstrapError> {
    let mut builder = builder().timeout(REQUEST_TIMEOUT);
    if let Some(path) = authority {
        let pem = std::fs::read(path).map_err(|error| BootstrapError::Local(format!("{}: {error}", path.display())))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem);
        builder = builder.tls_certs_merge(certificates.map_err(|error| BootstrapError::Local(format!("{}: {error}", path.display())))?);
    }
    builder.build().map_err(|error| BootstrapError::Local(error.to_string()))
}

async fn ready(http: &reqwest::Client, base: &str) -> Result<(), BootstrapError> {
    let deadline = Instant::now() + READY_TIMEOUT;
    loop {
        let reason = match http.get(format!("{base}/_health_check")).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => crate::client::causes(&error.without_url()),
        };
        if Instant::now() > deadline {
            return Err(BootstrapError::NotReady { url: base.to_owned(), reason });
        }
        tokio::time::sleep(READY_PAUSE).await;
    }
}

fn not_ready(base: &str, error: reqwest::Error) -> BootstrapError {
    BootstrapError::NotReady { url: base.to_owned(), reason: crate::client::causes(&error) }
}
