//! `tfe admin`: setting a new server up.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tfe_core::secret::Secret;
use url::Url;

use super::{
    context::Context,
    failure::{Done, Failure},
    output::{Table, text},
    restoration::{self, RestorationOptions},
};
use crate::{Access, FirstAdmin, bootstrap, resume};

/// The file in a server's data directory with the token that allows to create the first administrator.
const TOKEN_FILE: &str = "initial-admin-token";
/// Bytes of chance in a password that nobody chose.
const PASSWORD_LENGTH: usize = 24;

/// What to do with a new server.
#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// Create the first administrator, an organization and a token, and write what terraform needs to use them.
    Bootstrap(Box<Bootstrap>),
    /// Show what followed from the last restore, and let runs apply by themselves again.
    Restoration(RestorationOptions),
}

/// The first administrator.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tfe-server serve --data-dir ./node --listen 127.0.0.1:8080 &\n  \
    tfe admin bootstrap --url http://127.0.0.1:8080 --data-dir ./node\n  \
    export TF_CLI_CONFIG_FILE=$PWD/node/terraform.rc\n\nOnce more is fine: an administrator that exists already is left as it is.")]
pub(super) struct Bootstrap {
    /// Where the server is.
    #[arg(long, value_name = "URL")]
    url: Url,
    /// Its data directory, in which it left a token for this, and where demo.json and terraform.rc go.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The name of the administrator.
    #[arg(long, default_value = "admin")]
    username: String,
    /// Where notices go.
    #[arg(long, default_value = "admin@tfe.localhost")]
    email: String,
    /// A file with the password to sign in with; without it there is one that nobody knows, and tokens are used.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The name of the organization.
    #[arg(long = "new-organization", default_value = "demo", value_name = "NAME")]
    new_organization: String,
    /// A file with the token, if it is not in the data directory.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file with an authority to trust besides the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, command: AdminCommand) -> Result<Done, Failure> {
    match command {
        AdminCommand::Bootstrap(options) => set_up(context, *options).await,
        AdminCommand::Restoration(options) => restoration::run(context, options).await,
    }
}

async fn set_up(context: &Context, options: Bootstrap) -> Result<Done, Failure> {
    let access = match resume(&options.url, &options.data_dir, options.ca_file.as_deref()).await? {
        Some(access) => access,
        None => create(&options).await?,
    };
    let shown = serde_json::json!({
        "url": access.url, "hostname": access.hostname, "organization": access.organization, "terraform_rc": access.terraform_rc,
    });
    context.output.print(&shown, || {
        let file = access.terraform_rc.display().to_string();
        Table::details(vec![
            ("url", text(&access.url)),
            ("hostname", text(&access.hostname)),
            ("organization", text(&access.organization)),
            ("TF_CLI_CONFIG_FILE", text(&file)),
        ])
    })?;
    Ok(Done::Well)
}

async fn create(options: &Bootstrap) -> Result<Access, Failure> {
    let path = options.token_file.clone().unwrap_or_else(|| options.data_dir.join(TOKEN_FILE));
    let token = std::fs::read_to_string(&path);
    let token = token.map_err(|error| {
        let place = path.display();
        Failure::Other(format!(
            "the server's token cannot be read in {place}: {error}; is this its data directory, and has it no users yet?"
        ))
    })?;
    let password = match &options.password_file {
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| Failure::Other(format!("the password cannot be read in {}: {error}", file.display())))?;
            Secret::from(text.trim_end_matches('\n'))
        }
        None => random_password()?,
    };
    let (username, email, organization) = (options.username.clone(), options.email.clone(), options.new_organization.clone());
    let first = FirstAdmin { username, email, password, organization };
    Ok(bootstrap(&options.url, &options.data_dir, &Secret::from(token.trim()), &first, options.ca_file.as_deref()).await?)
}

fn random_password() -> Result<Secret, Failure> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut bytes = [0_u8; PASSWORD_LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Other(format!("the system gives no randomness: {error}")))?;
    Ok(Secret::from(URL_SAFE_NO_PAD.encode(bytes)))
}
