//! What the service's refusals mean. The client's own errors carry whole answers, which may hold secrets, so none of
//! them gets out of here: only the status and what it means.

use vaultrs::error::ClientError;

use crate::VaultError;

/// A call, for the words about its failure.
pub(super) struct Call {
    /// The path of the policy.
    pub(super) path: String,
    /// The capability that the policy must give.
    capability: &'static str,
    /// Whether a sealed value goes along, which may be what is wrong.
    has_value: bool,
}

impl Call {
    pub(super) fn new(path: String, capability: &'static str) -> Self {
        Self { path, capability, has_value: false }
    }

    pub(super) fn with_value(self) -> Self {
        Self { has_value: true, ..self }
    }

    /// What the failure of this call means.
    pub(super) fn explain(&self, error: &ClientError) -> VaultError {
        let said = |text: &str| reasons(error).iter().any(|reason| reason.contains(text));
        match status(error) {
            Some(403) => VaultError::Denied { path: self.path.clone(), capability: self.capability },
            Some(404) => self.gone(),
            Some(400) if said("key not found") || said("disallowed by policy") || said("deleted") => self.gone(),
            Some(400) if self.has_value => VaultError::Tampered,
            Some(503) => unavailable("it is sealed or has no leader".to_owned()),
            Some(code @ (412 | 429 | 500..=599)) => unavailable(format!("it answers with status {code}")),
            Some(code) => VaultError::Unusable(format!("{} is answered with status {code}", self.path)),
            None => unavailable("it does not answer".to_owned()),
        }
    }

    fn gone(&self) -> VaultError {
        let name = self.path.trim_end_matches("/rotate").rsplit('/').next().unwrap_or(&self.path);
        VaultError::KeyGone(name.to_owned())
    }
}

/// The status of the answer, if there was one.
pub(super) fn status(error: &ClientError) -> Option<u16> {
    match error {
        ClientError::APIError { code, .. }
        | ClientError::RestClientError { source: rustify::errors::ClientError::ServerResponseError { code, .. } } => Some(*code),
        _ => None,
    }
}

fn reasons(error: &ClientError) -> &[String] {
    match error {
        ClientError::APIError { errors, .. } => errors,
        _ => &[],
    }
}

pub(super) fn unavailable(reason: String) -> VaultError {
    VaultError::Unavailable(reason.into())
}
