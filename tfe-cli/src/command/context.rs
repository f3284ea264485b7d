//! What the commands share: the server, the organization, the output.

use super::{arguments::Options, failure::Failure, output::Output};
use crate::{Client, Workspace, credentials};

/// The options, resolved when a command needs them: `tfe login` must work without a token.
pub(super) struct Context {
    options: Options,
    /// Where results go.
    pub(super) output: Output,
}

impl Context {
    /// Nothing is read or sent yet.
    pub(super) fn new(options: Options) -> Self {
        let output = Output::of_process(options.json);
        Self { options, output }
    }

    /// The server's name.
    pub(super) fn hostname(&self) -> Result<String, Failure> {
        match self.options.hostname.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => Ok(name.to_owned()),
            None => Ok(credentials::only_hostname()?),
        }
    }

    /// A client for the server, with the token that is known for it.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let host = credentials::resolve(&self.hostname()?).await?;
        Ok(Client::new(&host)?)
    }

    /// The organization's name.
    pub(super) fn organization(&self) -> Result<&str, Failure> {
        let name = self.options.organization.as_deref().filter(|name| !name.is_empty());
        name.ok_or_else(|| Failure::Usage("which organization? name it with --organization or TFE_ORGANIZATION".to_owned()))
    }

    /// A client, and the workspace of that name.
    pub(super) async fn workspace(&self, name: &str) -> Result<(Client, Workspace), Failure> {
        let organization = self.organization()?;
        let client = self.client().await?;
        let workspace = client.workspace(organization, name).await?;
        Ok((client, workspace))
    }
}
