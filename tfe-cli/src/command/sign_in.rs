//! `tfe login` and `tfe whoami`.

use std::io::{self, Read};

use tfe_core::secret::Secret;

use super::{
    arguments::Login,
    context::Context,
    failure::{Done, Failure},
    output::{Table, note, text},
};
use crate::{Client, credentials, login as sign_in};

/// Longest token that is read, in bytes: tokens have about a hundred.
const MAX_TOKEN_BYTES: u64 = 16 * 1024;

/// Signs in, checks that the token works, and keeps it.
pub(super) async fn login(context: &Context, arguments: Login) -> Result<Done, Failure> {
    let hostname = context.hostname()?;
    let token = if arguments.token_stdin { read_token()? } else { ask_in_browser(&hostname).await? };
    let host = credentials::resolve_with(&hostname, token.clone()).await?;
    let account = Client::new(&host)?.account().await?;
    credentials::store(&host.name, &token)?;
    context.output.print(&account, || Table::details(vec![("host", text(&host.name)), ("signed in as", text(&account.username))]))?;
    Ok(Done::Well)
}

/// Shows who the token belongs to.
pub(super) async fn whoami(context: &Context) -> Result<Done, Failure> {
    let client = context.client().await?;
    let account = client.account().await?;
    context.output.print(&account, || {
        let email = account.email.as_deref().unwrap_or_default();
        Table::details(vec![("host", text(&client.host().name)), ("username", text(&account.username)), ("email", text(email))])
    })?;
    Ok(Done::Well)
}

async fn ask_in_browser(hostname: &str) -> Result<Secret, Failure> {
    let service = credentials::services(hostname).await?.login.ok_or_else(|| {
        Failure::Other(format!("{hostname} offers no signing in with a browser; make a token there and use: tfe login --token-stdin"))
    })?;
    let mut announce = |url: &url::Url| note(&format!("Open this address in a browser on this machine to sign in:\n\n  {url}\n"));
    Ok(sign_in(&service, &mut announce).await?)
}

fn read_token() -> Result<Secret, Failure> {
    let unusable = |reason: String| Failure::Usage(format!("{reason}; pipe the token in: tfe login --token-stdin < file"));
    let mut token = String::new();
    let read = io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut token);
    read.map_err(|error| unusable(format!("the token cannot be read: {error}")))?;
    let token = Secret::from(token);
    match token.expose().trim() {
        "" => Err(unusable("the standard input has no token".to_owned())),
        text if text.contains(char::is_whitespace) => Err(unusable("the standard input has more than a token".to_owned())),
        text => Ok(Secret::from(text)),
    }
}
