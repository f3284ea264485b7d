//! `tfe login` and `tfe whoami`.

use std::io::{self, Read};

use clap::Args;
use tfe_core::secret::Secret;

use super::{End, Failure, Session, output};
use crate::{client::Client, credentials, login as sign_in};

/// Longest token that is read from standard input.
const MAX_TOKEN_BYTES: u64 = 4096;

#[derive(Debug, Args)]
pub(super) struct Login {
    /// Read a token from standard input and store it, without a browser
    #[arg(long)]
    token_stdin: bool,
}

/// Gets a token, tries it, and stores it where terraform finds it too.
pub(super) async fn login(login: Login, hostname: Option<String>) -> Result<End, Failure> {
    let hostname = hostname.ok_or_else(|| Failure::Other("the server is missing; give --hostname or set TFE_HOSTNAME".to_owned()))?;
    let token = if login.token_stdin { read_token()? } else { from_browser(&hostname).await? };
    let host = credentials::resolve_with(&hostname, token.clone()).await?;
    let account = Client::new(&host)?.account().await?;
    credentials::store(&hostname, &token)?;
    output::print(&format!("Signed in to {hostname} as {}; the token is stored for tfe and terraform.\n", account.username))?;
    Ok(End::Done)
}

pub(super) async fn whoami(session: &Session) -> Result<End, Failure> {
    let account = session.client.account().await?;
    let lines = [("username", account.username.clone()), ("server", session.client.host().name.clone())];
    session.output.one(&account, &lines)?;
    Ok(End::Done)
}

async fn from_browser(hostname: &str) -> Result<Secret, Failure> {
    let services = credentials::services(hostname).await?;
    let missing =
        || Failure::Other(format!("{hostname} has no sign-in for programs; make a token on its pages and give it to --token-stdin"));
    let service = services.login.ok_or_else(missing)?;
    let mut announce = |url: &url::Url| {
        // Whoever cannot read this cannot sign in either, and presses Ctrl-C.
        let _ = output::print(&format!("Open this page in a browser and approve:\n\n  {url}\n\nWaiting for it; Ctrl-C gives up.\n"));
    };
    Ok(sign_in(&service, &mut announce).await?)
}

fn read_token() -> Result<Secret, Failure> {
    let mut text = String::new();
    io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut text)?;
    match text.trim() {
        "" => Err(Failure::Other("there is no token on standard input".to_owned())),
        token => Ok(Secret::from(token)),
    }
}
