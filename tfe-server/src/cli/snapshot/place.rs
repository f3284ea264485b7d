//! Where snapshots and the installation are, by flags and configuration.

use std::sync::Arc;

use object_store::ObjectStore;
use tfe_server::{
    Backends,
    configuration::{Configuration, Objects},
    embedded_records, snapshots,
};
use tfe_storage::{
    Vault,
    migrate::Place,
    open_objects,
    snapshot::{Owner, Repository, RepositorySecret, SnapshotError},
};

use super::From;
use crate::cli::Failure;

impl From {
    /// The repository, and whether to print JSON.
    pub(super) async fn opened(&self) -> Result<(Repository, bool), Failure> {
        let configuration = self.options.serve.read(&[]).await?;
        let secret = match &configuration.snapshots.password {
            Some(password) => RepositorySecret::Password(password.clone()),
            None => secret(&configuration, &Backends::open_shared(&configuration).await?.vault)?,
        };
        Ok((Repository::open(objects(self.from.as_deref(), &configuration)?, &secret).await?, self.options.json))
    }
}

/// Where an installation is.
pub(super) fn of(backends: &Backends) -> Place {
    Place { store: backends.store.clone(), objects: backends.objects.clone(), vault: backends.vault.clone() }
}

/// Where the installation of a configuration is; none if there is none. Where records are in a directory, none is made by looking.
pub(super) async fn installed(configuration: &Configuration) -> Result<Option<Place>, Failure> {
    if configuration.database.is_none() && !embedded_records(&configuration.data_directory).exists() {
        return Ok(None);
    }
    let place = of(&Backends::open_shared(configuration).await?);
    match Owner::of(&*place.store).await {
        Ok(_) => Ok(Some(place)),
        Err(SnapshotError::NoInstallation) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where snapshots are.
pub(super) fn objects(url: Option<&str>, configuration: &Configuration) -> Result<Arc<dyn ObjectStore>, Failure> {
    let given = url.map(|url| configuration.snapshots_at(url)).or_else(|| configuration.snapshots.objects.clone());
    let Objects { url, options } = given.ok_or("say where the snapshots are, with --to or --from URL, or TFE_BACKUP_URL")?;
    Ok(open_objects(&url, &options)?)
}

/// What opens them. The keyring of an installation does not: it would be lost with it.
pub(super) fn secret(configuration: &Configuration, vault: &Arc<dyn Vault>) -> Result<RepositorySecret, Failure> {
    if configuration.snapshots.password.is_none() && configuration.vault.is_none() {
        return Err("give the password of the snapshots in TFE_BACKUP_PASSWORD".into());
    }
    Ok(snapshots::secret(&configuration.snapshots, vault))
}
