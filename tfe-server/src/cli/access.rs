//! What a client needs to reach a demo: written beside the data, for scripts and for `TF_CLI_CONFIG_FILE`.

use std::{
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tfe_core::secret::Secret;

use super::Failure;

/// The contents of `demo.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Access {
    /// Where the server is.
    pub(crate) url: String,
    /// The name by which configurations know it.
    pub(crate) hostname: String,
    /// The organization.
    pub(crate) organization: String,
    /// The administrator's token.
    #[serde(with = "tfe_core::secret::exposed")]
    pub(crate) token: Secret,
    /// The CLI configuration file with host and credentials.
    pub(crate) terraform_rc: PathBuf,
    /// The authority to trust, when HTTPS is served with a certificate made on the spot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
}

impl Access {
    /// What an earlier start wrote.
    pub(crate) fn read(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(data_dir.join("demo.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes `demo.json` and the CLI configuration, for this user only.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<(), Failure> {
        private_file(&self.terraform_rc, &self.cli_configuration())?;
        private_file(&data_dir.join("demo.json"), &(serde_json::to_string_pretty(self)? + "\n"))
    }

    /// With HTTPS the CLI discovers the services itself; over HTTP it must be told (contract 1.1).
    fn cli_configuration(&self) -> String {
        let Self { url, hostname, token, .. } = self;
        let token = token.expose();
        let credentials = format!("disable_checkpoint = true\n\ncredentials \"{hostname}\" {{\n  token = \"{token}\"\n}}\n");
        if url.starts_with("https:") {
            return credentials;
        }
        format!(
            r#"{credentials}
host "{hostname}" {{
  services = {{
    "tfe.v2"   = "{url}/api/v2/"
    "tfe.v2.1" = "{url}/api/v2/"
    "tfe.v2.2" = "{url}/api/v2/"
    "state.v2" = "{url}/api/v2/"
    "login.v1" = {{
      client      = "terraform-cli"
      grant_types = ["authz_code"]
      authz       = "{url}/oauth/authorization"
      token       = "{url}/oauth/token"
      ports       = [10000, 10010]
    }}
  }}
}}
"#
        )
    }
}

fn private_file(path: &Path, content: &str) -> Result<(), Failure> {
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    Ok(std::fs::rename(&new, path)?)
}
