//! Opening what an installation stands on: records, objects, vault, as the configuration says.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use object_store::ObjectStore;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tfe_core::{KINDS, time::Clock};
use tfe_storage::{
    BlobError, Blobs, LocalVault, RootSecret, Store, TransitLogin, TransitSettings, TransitVault, Vault, VaultError, open_objects,
    open_store, sql::SqlStore, vault::transit,
};

use crate::{
    configuration::{Configuration, Database, ExternalVault, Mode},
    embedded::{DirectoryLock, EmbeddedError, KeySource, private_directory},
    system::SystemClock,
};

/// What an installation stands on, open.
#[derive(Debug)]
pub struct Backends {
    /// Records.
    pub store: Arc<dyn Store>,
    /// Objects, as they are stored.
    pub objects: Arc<dyn ObjectStore>,
    /// Secrets.
    pub vault: Arc<dyn Vault>,
    /// Large content.
    pub blobs: Blobs,
    /// The right to the data directory, held as long as it is in use.
    pub lock: Option<DirectoryLock>,
}

/// Why something could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory.
    #[error(transparent)]
    Directory(#[from] EmbeddedError),
    /// The records.
    #[error("the database cannot be opened: {}", crate::error::chain(.0))]
    Store(#[source] tfe_storage::Error),
    /// The blobs.
    #[error("the object store cannot be opened: {}", crate::error::chain(.0))]
    Objects(#[source] BlobError),
    /// The secrets.
    #[error("secrets cannot be opened: {}", crate::error::chain(.0))]
    Vault(#[source] VaultError),
    /// A setting turned out not to fit.
    #[error("{0}")]
    Setting(String),
}

impl Backends {
    /// Opens the data directory, making it at the first start.
    pub async fn embedded(directory: &Path, key: KeySource) -> Result<Self, OpenError> {
        let lock = DirectoryLock::acquire(directory)?;
        let vault = keyring_file(directory, key).await?;
        let store = sqlite(directory).await?;
        let objects = local_objects(directory)?;
        Ok(Self::new(store, objects, vault, Some(lock)))
    }

    /// Opens what the configuration names. In external mode the data directory has only what this node needs for its own
    /// runs, and one server at a time uses it too.
    pub async fn open(configuration: &Configuration) -> Result<Self, OpenError> {
        Self::open_locked(configuration, DirectoryLock::acquire(&configuration.data_directory)?).await
    }

    /// The same with the data directory's lock, which the caller has.
    pub async fn open_locked(configuration: &Configuration, lock: DirectoryLock) -> Result<Self, OpenError> {
        let Backends { store, objects, vault, blobs, .. } = Self::open_shared(configuration).await?;
        Ok(Self { store, objects, vault, blobs, lock: Some(lock) })
    }

    /// The same without the data directory's lock, where the data is not in it: for tools beside a server.
    pub async fn open_shared(configuration: &Configuration) -> Result<Self, OpenError> {
        let directory = &configuration.data_directory;
        let store = match &configuration.database {
            Some(database) => postgres(database).await?,
            None => sqlite(directory).await?,
        };
        let objects = match &configuration.objects {
            Some(objects) => open_objects(&objects.url, &objects.options).map_err(OpenError::Objects)?,
            None => local_objects(directory)?,
        };
        let vault = match &configuration.vault {
            Some(vault) => external_vault(vault).await?,
            None => keyring(configuration, &store).await?,
        };
        Ok(Self::new(store, objects, vault, None))
    }

    fn new(store: Arc<dyn Store>, objects: Arc<dyn ObjectStore>, vault: Arc<dyn Vault>, lock: Option<DirectoryLock>) -> Self {
        let blobs = Blobs::new(objects.clone(), vault.clone());
        Self { store, objects, vault, blobs, lock }
    }
}

/// Where the records of a data directory are, if they are in it.
pub fn embedded_records(directory: &Path) -> PathBuf {
    directory.join("records.sqlite")
}

/// The secret that opens the installation's own keyring.
pub fn key_source(configuration: &Configuration) -> KeySource {
    match &configuration.encryption_password {
        Some(password) => KeySource::Password(password.clone()),
        None => KeySource::File(configuration.key_path()),
    }
}

/// The keyring of the configuration: in the database in external mode, since nodes have no disk of their own there.
pub async fn keyring(configuration: &Configuration, store: &Arc<dyn Store>) -> Result<Arc<dyn Vault>, OpenError> {
    local_vault(configuration, store).await.map(|vault| Arc::new(vault) as Arc<dyn Vault>)
}

/// The same as its own type, for what only a keyring can do.
pub async fn local_vault(configuration: &Configuration, store: &Arc<dyn Store>) -> Result<LocalVault, OpenError> {
    let key = key_source(configuration);
    if configuration.mode == Mode::External {
        let root = root_secret(key)?;
        return LocalVault::in_store(store.clone(), root, SystemClock.now()).await.map_err(OpenError::Vault);
    }
    private_directory(&configuration.data_directory)?;
    keyring_in(&configuration.data_directory, key).await
}

async fn keyring_file(directory: &Path, key: KeySource) -> Result<Arc<dyn Vault>, OpenError> {
    Ok(Arc::new(keyring_in(directory, key).await?))
}

async fn keyring_in(directory: &Path, key: KeySource) -> Result<LocalVault, OpenError> {
    let root = root_secret(key)?;
    LocalVault::open_or_create(directory.join("keyring.json"), root).await.map_err(OpenError::Vault)
}

fn root_secret(key: KeySource) -> Result<RootSecret, OpenError> {
    match key {
        KeySource::Password(password) => Ok(RootSecret::Password(password)),
        KeySource::File(path) => {
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                private_directory(parent)?;
            }
            Ok(RootSecret::KeyFile(path))
        }
    }
}

async fn sqlite(directory: &Path) -> Result<Arc<dyn Store>, OpenError> {
    private_directory(directory)?;
    let records = embedded_records(directory);
    open_store(&format!("sqlite:{}", records.display()), KINDS).await.map_err(OpenError::Store)
}

fn local_objects(directory: &Path) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let blobs = std::path::absolute(directory.join("blobs")).map_err(|error| OpenError::Setting(error.to_string()))?;
    open_objects(&format!("file://{}", blobs.display()), &[]).map_err(OpenError::Objects)
}

async fn postgres(database: &Database) -> Result<Arc<dyn Store>, OpenError> {
    let options = connect_options(database)?;
    let store = SqlStore::<sqlx::Postgres>::connect(options, database.connections, KINDS).await;
    Ok(Arc::new(store.map_err(OpenError::Store)?))
}

fn connect_options(database: &Database) -> Result<PgConnectOptions, OpenError> {
    let url = match &database.url {
        Some(url) => url.expose().to_owned(),
        // The parts with letters that mean something in a URL are set below.
        None => format!("postgres://localhost/?{}", database.parameters),
    };
    // The error is not shown: it could repeat the password.
    let wrong = |_| {
        OpenError::Setting("the database's URL or parameters cannot be read; check TFE_DATABASE_URL or TFE_DATABASE_PARAMETERS".to_owned())
    };
    let mut options: PgConnectOptions = url.parse().map_err(wrong)?;
    if database.url.is_none() {
        options = options.host(&database.host).port(database.port).database(&database.name).username(&database.user);
        if let Some(password) = &database.password {
            options = options.password(password.expose());
        }
    }
    if let Some(authority) = &database.authority {
        options = options.ssl_root_cert(authority);
    }
    if let Some((certificate, key)) = &database.certificate {
        options = options.ssl_client_cert(certificate).ssl_client_key(key).ssl_mode(PgSslMode::VerifyFull);
    }
    Ok(options)
}

async fn external_vault(vault: &ExternalVault) -> Result<Arc<dyn Vault>, OpenError> {
    TransitVault::connect(transit_settings(vault)).await.map(|vault| Arc::new(vault) as Arc<dyn Vault>).map_err(OpenError::Vault)
}

/// The settings of the transit engine.
pub fn transit_settings(vault: &ExternalVault) -> TransitSettings {
    let login = match (&vault.role, &vault.token) {
        (Some((role_id, secret_id)), _) => {
            TransitLogin::AppRole { mount: vault.login_mount.clone(), role_id: role_id.clone(), secret_id: secret_id.clone() }
        }
        (None, token) => TransitLogin::Token(token.clone().unwrap_or_default()),
    };
    TransitSettings {
        address: vault.address.clone(),
        namespace: vault.namespace.clone(),
        mount: vault.mount.clone(),
        key: vault.key.clone(),
        login,
        renew_every: vault.renew_every,
        timeout: transit::DEFAULT_TIMEOUT,
        authority: vault.authority.clone(),
    }
}
