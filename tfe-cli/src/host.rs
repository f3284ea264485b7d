//! Which server, and as whom.

use std::path::PathBuf;

use tfe_core::secret::Secret;
use url::Url;

/// A server and the right to use it.
#[derive(Debug, Clone)]
pub struct Host {
    /// The name by which configurations know it, such as `tfe.example.com`.
    pub name: String,
    /// Where its API begins, with a slash at the end.
    pub api: Url,
    /// The bearer token.
    pub token: Secret,
    /// A PEM file with an authority to trust besides the system's.
    pub authority: Option<PathBuf>,
}
