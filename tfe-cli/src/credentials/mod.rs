//! Which servers there are and with which token, from where terraform keeps them: whoever has run `terraform login` or
//! has set `TF_TOKEN_…` is signed in here too, and the other way round.
//!
//! For a host the first of these has the token: the environment (`TF_TOKEN_tfe_example_com`), the command line
//! configuration (`$TF_CLI_CONFIG_FILE` or `~/.terraformrc`), and `~/.terraform.d/credentials.tfrc.json`, which is also
//! what [`store`] writes. Where the API is, a `host` block of the configuration says, else the server itself.

mod discovery;
mod environment;
mod hcl;
mod sources;

use tfe_core::secret::Secret;
use url::Url;

pub use self::discovery::{LoginService, Services};
use self::sources::Sources;
use crate::host::Host;

/// Why it is not known where a server is or how to sign in.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// No token is known for the host.
    #[error("no token is known for {host}; sign in with: tfe login --hostname {host}")]
    NoToken {
        /// The server's name.
        host: String,
    },
    /// No host was named, and there is not exactly one to take.
    #[error("{known}; name a server with --hostname or TFE_HOSTNAME")]
    NoHost {
        /// What is known instead.
        known: String,
    },
    /// A name that cannot be a host's.
    #[error("{name:?} is not a hostname; give a name such as tfe.example.com or tfe.example.com:8443, without https://")]
    BadName {
        /// The name.
        name: String,
    },
    /// A file with credentials cannot be used.
    #[error("{path}: {reason}; correct the file or move it away")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The server does not say where its services are.
    #[error("{host} does not say where its API is: {reason}; check the name and that the server runs")]
    Discovery {
        /// The server's name.
        host: String,
        /// What happened.
        reason: String,
    },
}

/// Where the host's API is, and the token for it.
///
/// Asks the server where its API is unless the configuration says so.
pub async fn resolve(hostname: &str) -> Result<Host, CredentialsError> {
    let name = checked(hostname)?;
    let known = Sources::of_process().read()?.remove(&name).unwrap_or_default();
    let token = known.token.ok_or_else(|| CredentialsError::NoToken { host: name.clone() })?;
    let services = match known.services {
        Some(services) => services,
        None => discovery::ask(&name).await?,
    };
    with_token(&name, services, token)
}

/// The host with a token that is not stored, such as one that was just given.
pub async fn resolve_with(hostname: &str, token: Secret) -> Result<Host, CredentialsError> {
    let name = checked(hostname)?;
    with_token(&name, services(&name).await?, token)
}

/// What a server offers and where: from the configuration, else from the server.
pub async fn services(hostname: &str) -> Result<Services, CredentialsError> {
    let name = checked(hostname)?;
    match Sources::of_process().read()?.remove(&name).unwrap_or_default().services {
        Some(services) => Ok(services),
        None => discovery::ask(&name).await,
    }
}

/// The only host that a token is known for.
pub fn only_hostname() -> Result<String, CredentialsError> {
    let known = Sources::of_process().read()?;
    let names: Vec<&str> = known.iter().filter(|(_, known)| known.token.is_some()).map(|(name, _)| name.as_str()).collect();
    match names.as_slice() {
        [name] => Ok((*name).to_owned()),
        [] => Err(CredentialsError::NoHost { known: "no server is known yet".to_owned() }),
        names => Err(CredentialsError::NoHost { known: format!("several servers are known ({})", names.join(", ")) }),
    }
}

/// Keeps a token where terraform finds it too: in `~/.terraform.d/credentials.tfrc.json`, readable by the owner only.
pub fn store(hostname: &str, token: &Secret) -> Result<(), CredentialsError> {
    Sources::of_process().store(&checked(hostname)?, token)
}

fn with_token(name: &str, services: Services, token: Secret) -> Result<Host, CredentialsError> {
    let api = services
        .api
        .ok_or_else(|| CredentialsError::Discovery { host: name.to_owned(), reason: "it does not offer the service tfe.v2".to_owned() })?;
    Ok(Host { name: name.to_owned(), api, token, authority: None })
}

/// The form in which hosts are compared; a name that would change the address it is put into is refused.
fn checked(hostname: &str) -> Result<String, CredentialsError> {
    let name = hostname.trim().to_lowercase();
    let url = Url::parse(&format!("https://{name}/")).ok();
    let is_plain = !name.is_empty() && !name.contains(['/', '@', '?', '#', '\\', ' ']);
    match url {
        Some(url) if is_plain && url.has_host() => Ok(name),
        _ => Err(CredentialsError::BadName { name: hostname.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_names_and_not_addresses() {
        assert_eq!(checked("TFE.example.com:8443").unwrap(), "tfe.example.com:8443");
        for name in ["", "https://tfe.example.com", "a/b", "user@host", "a b", "a:b"] {
            assert!(checked(name).is_err(), "{name}");
        }
    }
}
