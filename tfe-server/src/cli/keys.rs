//! `tfe-server keys`: what is done to the keyring itself, where it is.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tfe_core::secret::Secret;
use tfe_server::{Backends, backends::local_vault};
use tfe_storage::RootSecret;

use super::{Failure, options::ConfigOptions, print};

/// What to do with the keyring.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Seal the keyring under another password; the data stays as it is
    ChangePassword(ChangePassword),
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  TFE_ENCRYPTION_PASSWORD=old TFE_NEW_ENCRYPTION_PASSWORD=new tfe-server keys change-password\n\n\
    Nodes that run go on; start them again with the new password before you rotate keys.")]
pub(crate) struct ChangePassword {
    #[command(flatten)]
    config: ConfigOptions,
}

/// Does it.
pub(crate) async fn run(command: KeysCommand) -> Result<ExitCode, Failure> {
    let KeysCommand::ChangePassword(options) = command;
    let configuration = options.config.read().await?;
    if configuration.vault.is_some() {
        return Err("the keys are in the external vault; there is no keyring with a password".into());
    }
    let new = std::env::var("TFE_NEW_ENCRYPTION_PASSWORD").ok().filter(|password| !password.is_empty());
    let new = new.ok_or("give the new password in TFE_NEW_ENCRYPTION_PASSWORD")?;
    let backends = Backends::open_shared(&configuration).await?;
    let vault = local_vault(&configuration, &backends.store).await?;
    vault.change_root(RootSecret::Password(Secret::from(new))).await?;
    print("the keyring opens with the new password now\n")?;
    Ok(ExitCode::SUCCESS)
}
