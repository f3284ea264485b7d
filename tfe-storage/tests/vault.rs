//! Every vault keeps the promises, and the local one keeps its keys.

use std::{fs, path::Path, sync::Arc};

use tempfile::TempDir;
use tfe_core::{secret::Secret, time::Timestamp};
use tfe_storage::{LocalVault, MemoryStore, MemoryVault, RootSecret, Vault, VaultError};

mod memory {
    use super::{Arc, MemoryVault, Vault};

    async fn with_vault(test: impl AsyncFnOnce(Arc<dyn Vault>)) {
        test(Arc::new(MemoryVault::new().unwrap())).await;
    }

    tfe_storage::vault_conformance!(with_vault);
}

mod stored {
    use super::{Arc, MemoryStore, Vault, open_in_store};

    async fn with_vault(test: impl AsyncFnOnce(Arc<dyn Vault>)) {
        let vault = open_in_store(&Arc::new(MemoryStore::new()), "password").await.unwrap();
        test(Arc::new(vault)).await;
    }

    tfe_storage::vault_conformance!(with_vault);
}

mod local {
    use super::{Arc, Vault, open_with_key_file};

    async fn with_vault(test: impl AsyncFnOnce(Arc<dyn Vault>)) {
        let directory = tempfile::tempdir().unwrap();
        test(Arc::new(open_with_key_file(&directory).await.unwrap())).await;
    }

    tfe_storage::vault_conformance!(with_vault);
}

#[tokio::test]
async fn a_password_opens_its_keyring_and_another_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let keyring = directory.path().join("keyring");
    let open = |password: &str| LocalVault::open_or_create(&keyring, RootSecret::Password(Secret::from(password)));
    let sealed = open("right").await.unwrap().seal("c", b"value").await.unwrap();
    let before = fs::read(&keyring).unwrap();
    assert!(matches!(open("wrong").await, Err(VaultError::WrongSecret(place)) if place.contains(keyring.to_str().unwrap())));
    assert_eq!(fs::read(&keyring).unwrap(), before);
    assert_eq!(open("right").await.unwrap().open("c", &sealed).await.unwrap().as_slice(), b"value");
    assert!(sealed.as_str().starts_with("local:v1:"));
}

#[tokio::test]
async fn a_missing_key_file_is_named_and_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    open_with_key_file(&directory).await.unwrap();
    let key = directory.path().join("key");
    fs::remove_file(&key).unwrap();
    let error = open_with_key_file(&directory).await.unwrap_err();
    assert!(matches!(&error, VaultError::MissingKeyFile { key_file, .. } if *key_file == key), "{error:?}");
    assert!(error.to_string().contains(key.to_str().unwrap()) && error.to_string().contains("restore"), "{error}");
    assert!(!key.exists());
}

#[tokio::test]
async fn another_key_file_or_another_kind_of_secret_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open_with_key_file(&directory).await.unwrap();
    fs::write(directory.path().join("key"), [7; 32]).unwrap();
    assert!(matches!(open_with_key_file(&directory).await, Err(VaultError::WrongSecret(_))));
    fs::write(directory.path().join("key"), [7; 33]).unwrap();
    assert!(matches!(open_with_key_file(&directory).await, Err(VaultError::Bad { .. })));
    let password = RootSecret::Password(Secret::from("password"));
    assert!(matches!(LocalVault::open_or_create(directory.path().join("keyring"), password).await, Err(VaultError::Bad { .. })));
}

#[tokio::test]
async fn a_damaged_or_newer_keyring_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    open_with_key_file(&directory).await.unwrap();
    let keyring = directory.path().join("keyring");
    let text = fs::read_to_string(&keyring).unwrap();
    for changed in ["", "{}", &text[..text.len() / 2], &text.replace("\"format\": 1", "\"format\": 2")] {
        fs::write(&keyring, changed).unwrap();
        assert!(matches!(open_with_key_file(&directory).await, Err(VaultError::Bad { .. })), "{changed}");
        assert_eq!(fs::read_to_string(&keyring).unwrap(), changed, "a keyring is never made anew over another");
    }
}

#[tokio::test]
async fn rotation_seals_with_a_new_key_and_opens_with_all() {
    let directory = tempfile::tempdir().unwrap();
    let vault = open_with_key_file(&directory).await.unwrap();
    let old = vault.seal("c", b"old").await.unwrap();
    vault.rotate().await.unwrap();
    let new = vault.seal("c", b"new").await.unwrap();
    assert!(new.as_str().starts_with("local:v2:"));
    let reopened = open_with_key_file(&directory).await.unwrap();
    assert_eq!(reopened.open("c", &old).await.unwrap().as_slice(), b"old");
    assert_eq!(reopened.open("c", &new).await.unwrap().as_slice(), b"new");
}

#[tokio::test]
async fn vaults_that_share_a_file_lose_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let vaults = tokio::join!(open_with_key_file(&directory), open_with_key_file(&directory));
    let (one, other) = (vaults.0.unwrap(), vaults.1.unwrap());
    for _ in 0..5 {
        let (first, second) = tokio::join!(one.rotate(), other.rotate());
        first.and(second).unwrap();
    }
    one.rotate().await.unwrap();
    let sealed = one.seal("c", b"value").await.unwrap();
    assert!(sealed.as_str().starts_with("local:v12:"), "{}", sealed.as_str());
    assert!(other.newest_version() < 12);
    assert_eq!(other.open("c", &sealed).await.unwrap().as_slice(), b"value", "an unknown version makes it look again");
}

#[tokio::test]
async fn vaults_that_share_a_store_lose_no_key() {
    let store = Arc::new(MemoryStore::new());
    let (one, other) = tokio::join!(open_in_store(&store, "password"), open_in_store(&store, "password"));
    let (one, other) = (one.unwrap(), other.unwrap());
    for _ in 0..5 {
        let (first, second) = tokio::join!(one.rotate(), other.rotate());
        first.and(second).unwrap();
    }
    let sealed = one.seal("c", b"value").await.unwrap();
    assert_eq!(other.open("c", &sealed).await.unwrap().as_slice(), b"value");
    assert!(matches!(open_in_store(&store, "other").await, Err(VaultError::WrongSecret(_))));
}

#[tokio::test]
async fn a_changed_password_opens_the_same_keys() {
    let store = Arc::new(MemoryStore::new());
    let vault = open_in_store(&store, "old").await.unwrap();
    let sealed = vault.seal("c", b"value").await.unwrap();
    vault.change_root(RootSecret::Password(Secret::from("new"))).await.unwrap();
    assert_eq!(vault.open("c", &sealed).await.unwrap().as_slice(), b"value", "a vault that is open stays so");
    assert!(matches!(open_in_store(&store, "old").await, Err(VaultError::WrongSecret(_))));
    let reopened = open_in_store(&store, "new").await.unwrap();
    assert_eq!(reopened.open("c", &sealed).await.unwrap().as_slice(), b"value");
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_private_and_no_draft_stays() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    open_with_key_file(&directory).await.unwrap().rotate().await.unwrap();
    let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["key", "keyring", "keyring.lock"]);
    for name in names {
        let mode = fs::metadata(directory.path().join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", Path::new(&name).display());
    }
}

async fn open_in_store(store: &Arc<MemoryStore>, password: &str) -> Result<LocalVault, VaultError> {
    LocalVault::in_store(store.clone(), RootSecret::Password(Secret::from(password)), Timestamp::default()).await
}

async fn open_with_key_file(directory: &TempDir) -> Result<LocalVault, VaultError> {
    let path = directory.path();
    LocalVault::open_or_create(path.join("keyring"), RootSecret::KeyFile(path.join("key"))).await
}
