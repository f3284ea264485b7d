//! What a client needs to reach a new installation: written into a directory, for scripts and for `TF_CLI_CONFIG_FILE`.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tfe_core::secret::Secret;

use crate::private_file;

/// The contents of `demo.json`, with the administrator's token: for whoever set the installation up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Access {
    /// Where the server is.
    pub url: String,
    /// The name by which configurations know it.
    pub hostname: String,
    /// The organization.
    pub organization: String,
    /// The administrator's token.
    #[serde(with = "tfe_core::secret::exposed")]
    pub token: Secret,
    /// The CLI configuration file with host and credentials.
    pub terraform_rc: PathBuf,
    /// The authority to trust, when HTTPS is served with a certificate made on the spot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
}

impl Access {
    /// What an earlier start wrote.
    pub fn read(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(data_dir.join("demo.json")).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes `demo.json` and the CLI configuration, for this user only.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        private_file::write(&self.terraform_rc, self.cli_configuration().as_bytes())?;
        private_file::write(&data_dir.join("demo.json"), (serde_json::to_string_pretty(self)? + "\n").as_bytes())
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
