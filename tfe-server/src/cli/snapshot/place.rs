//! Where snapshots and the installation are, by flags and configuration.

use std::sync::Arc;

use tfe_core::secret::Secret;
use tfe_server::{
    Backends,
    configuration::{Configuration, Objects},
    snapshots,
};
use tfe_storage::{
    migrate::Place,
    open_objects,
    snapshot::{Repository, RepositorySecret},
};

use super::From;
use crate::cli::Failure;

/// What seals snapshots where no configuration says so.
const PASSWORD: &str = "TFE_BACKUP_PASSWORD";

impl From {
    /// The repository, and whether to print JSON.
    pub(super) async fn opened(&self) -> Result<(Repository, bool), Failure> {
        let configuration = self.options.serve.read(&[]).await?;
        // Only a vault that is not the installation's own opens them without a password.
        let secret = match password(&configuration) {
            Some(password) => RepositorySecret::Password(password),
            None => RepositorySecret::Vault(Backends::open_shared(&configuration).await?.vault),
        };
        Ok((Repository::open(objects(self.from.as_deref(), &configuration)?, &secret).await?, self.options.json))
    }

    /// The repository, for an installation.
    pub(super) async fn open(&self, configuration: &Configuration, place: &Place) -> Result<Repository, Failure> {
        Ok(Repository::open(objects(self.from.as_deref(), configuration)?, &secret(configuration, place)?).await?)
    }
}

/// Where an installation is.
pub(super) fn of(backends: &Backends) -> Place {
    Place { store: backends.store.clone(), objects: backends.objects.clone(), vault: backends.vault.clone() }
}

/// Where snapshots are.
pub(super) fn objects(url: Option<&str>, configuration: &Configuration) -> Result<Arc<dyn object_store::ObjectStore>, Failure> {
    let Objects { url, options } = match (url, &configuration.snapshots) {
        (Some(url), _) => snapshots::at(url, configuration),
        (None, Some(snapshots)) => snapshots.objects.clone(),
        (None, None) => return Err("say where the snapshots are, with --to or --from URL, or TFE_BACKUP_URL".into()),
    };
    Ok(open_objects(&url, &options)?)
}

/// What opens them.
pub(super) fn secret(configuration: &Configuration, place: &Place) -> Result<RepositorySecret, Failure> {
    match password(configuration) {
        Some(password) => Ok(RepositorySecret::Password(password)),
        None if configuration.vault.is_some() => Ok(RepositorySecret::Vault(place.vault.clone())),
        None => Err(format!("give the password of the snapshots in {PASSWORD}").into()),
    }
}

fn password(configuration: &Configuration) -> Option<Secret> {
    let configured = configuration.snapshots.as_ref().and_then(|snapshots| snapshots.password.clone());
    configured.or_else(|| std::env::var(PASSWORD).ok().filter(|password| !password.is_empty()).map(Secret::from))
}
