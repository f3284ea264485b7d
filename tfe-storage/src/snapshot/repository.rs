//! Where snapshots are: what is in a repository is sealed under its own key, which a password or a vault opens.

use std::{fmt, sync::Arc};

use flate2::{Compression, read::DeflateDecoder, write::DeflateEncoder};
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tfe_core::{
    cipher::{KEY_LENGTH, Key, NONCE_LENGTH, Nonce},
    secret::{Sealed, Secret},
};
use zeroize::Zeroizing;

use super::{
    Damage, SnapshotError,
    manifest::{Chunk, FORMAT},
};
use crate::{BlobError, Vault, VaultError, migrate::hex, vault::Envelope};

/// What says how a repository is opened.
const HEAD: &str = "repository.json";
/// What the repository's key is sealed with.
const CONTEXT: &str = "snapshot-repository";
/// Largest part of records, and largest journal segment, when opened.
pub(super) const MAX_PLAIN_BYTES: u64 = 1 << 30;
/// Below what parts of records are.
pub(super) const RECORDS: &str = "records";

/// What opens a repository.
#[derive(Debug, Clone)]
pub enum RepositorySecret {
    /// A password.
    Password(Secret),
    /// A vault that outlives the installation.
    Vault(Arc<dyn Vault>),
}

/// Snapshots in an object store, open.
#[derive(Clone)]
pub struct Repository {
    pub(super) objects: Arc<dyn ObjectStore>,
    key: Key,
}

/// The document [`HEAD`].
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    opened_by: Lock,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Lock {
    Password(Envelope),
    Vault(Sealed),
}

impl Repository {
    /// Opens what is there. Takes a fraction of a second with a password, so that guessing does too.
    pub async fn open(objects: Arc<dyn ObjectStore>, secret: &RepositorySecret) -> Result<Self, SnapshotError> {
        let head = read(&*objects, &Path::from(HEAD)).await?.ok_or(SnapshotError::NoRepository)?;
        let damaged = || Damage::one(HEAD, "what opens the repository");
        let document = head;
        let head: Head = serde_json::from_slice(&document).map_err(|_| damaged())?;
        // It is written in one way only, so that whatever else stands there was not written.
        if serde_json::to_vec_pretty(&head).ok().as_ref() != Some(&document) {
            return Err(damaged().into());
        }
        if head.format > FORMAT {
            return Err(SnapshotError::Format(head.format));
        }
        let key = head.opened_by.open(secret).await.map_err(SnapshotError::Secret)?;
        let key = Key::from_slice(&key).ok_or_else(damaged)?;
        Ok(Self { objects, key })
    }

    /// The same, making the repository if there is none.
    pub async fn open_or_create(objects: Arc<dyn ObjectStore>, secret: &RepositorySecret) -> Result<Self, SnapshotError> {
        match Self::open(objects.clone(), secret).await {
            Err(SnapshotError::NoRepository) => {}
            opened => return opened,
        }
        let mut key = Zeroizing::new([0; KEY_LENGTH]);
        getrandom::fill(key.as_mut_slice()).map_err(BlobError::unavailable)?;
        let opened_by = Lock::seal(secret, key.as_slice()).await.map_err(SnapshotError::Secret)?;
        let head = serde_json::to_vec_pretty(&Head { format: FORMAT, opened_by }).map_err(BlobError::unavailable)?;
        let created = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match objects.put_opts(&Path::from(HEAD), head.into(), created).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Self::open(objects, secret).await,
            Err(error) => Err(BlobError::unavailable(error).into()),
        }
    }

    /// Writes a part of records, unless `is_known` says that its object is there.
    pub(super) async fn write_chunk(&self, plain: &[u8], is_known: impl Fn(&Chunk) -> bool) -> Result<Chunk, SnapshotError> {
        let packed = pack(plain)?;
        let content = hex(&Sha256::digest(&packed));
        let mut sealed = packed;
        // The key belongs to this content alone, so that its one nonce is never used for another.
        self.key_of(&content).seal(Nonce::counter(0, true), RECORDS.as_bytes(), &mut sealed);
        let chunk = Chunk { sha256: hex(&Sha256::digest(&sealed)), bytes: sealed.len() as u64, content };
        if !is_known(&chunk) {
            self.objects.put(&chunk.path(), sealed.into()).await.map_err(BlobError::unavailable)?;
        }
        Ok(chunk)
    }

    /// The content of a part; `what` is what it holds, for the case that it is damaged.
    pub(super) async fn read_chunk(&self, chunk: &Chunk, what: impl Fn() -> String) -> Result<Vec<u8>, SnapshotError> {
        let damaged = || Damage::one(chunk.path().to_string(), what());
        let mut sealed = read(&*self.objects, &chunk.path()).await?.ok_or_else(damaged)?;
        if hex(&Sha256::digest(&sealed)) != chunk.sha256 {
            return Err(damaged().into());
        }
        self.key_of(&chunk.content).open(Nonce::counter(0, true), RECORDS.as_bytes(), &mut sealed).map_err(|_| damaged())?;
        Ok(unpack(&sealed).ok_or_else(damaged)?)
    }

    fn key_of(&self, content: &str) -> Key {
        self.key.derive(b"chunk").derive(content.as_bytes())
    }

    /// Writes a document that only this repository's key opens, and only at this place.
    pub(super) async fn write_document(&self, path: &Path, plain: &[u8]) -> Result<(), SnapshotError> {
        let mut nonce = [0; NONCE_LENGTH];
        getrandom::fill(&mut nonce).map_err(BlobError::unavailable)?;
        let mut sealed = pack(plain)?;
        self.key.derive(b"document").seal(Nonce::from_random(nonce), path.as_ref().as_bytes(), &mut sealed);
        let document = [&nonce[..], &sealed].concat();
        self.objects.put(path, document.into()).await.map(drop).map_err(|error| BlobError::unavailable(error).into())
    }

    /// The document at a place; none if there is nothing.
    pub(super) async fn read_document(&self, path: &Path, what: &str) -> Result<Option<Vec<u8>>, SnapshotError> {
        let damaged = || Damage::one(path.to_string(), what);
        let Some(document) = read(&*self.objects, path).await? else { return Ok(None) };
        let (nonce, sealed) = document.split_first_chunk::<NONCE_LENGTH>().ok_or_else(damaged)?;
        let mut sealed = sealed.to_vec();
        self.key.derive(b"document").open(Nonce::from_random(*nonce), path.as_ref().as_bytes(), &mut sealed).map_err(|_| damaged())?;
        Ok(Some(unpack(&sealed).ok_or_else(damaged)?))
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("objects", &self.objects).finish_non_exhaustive()
    }
}

impl Chunk {
    pub(super) fn path(&self) -> Path {
        Path::from_iter([RECORDS, self.sha256.get(..2).unwrap_or_default(), &self.sha256])
    }
}

impl Lock {
    async fn seal(secret: &RepositorySecret, key: &[u8]) -> Result<Self, VaultError> {
        match secret {
            RepositorySecret::Password(password) => {
                let (password, key) = (password.clone(), Zeroizing::new(key.to_vec()));
                slowly(move || Envelope::seal(&password, CONTEXT, &key)).await.map(Self::Password)
            }
            RepositorySecret::Vault(vault) => vault.seal(CONTEXT, key).await.map(Self::Vault),
        }
    }

    async fn open(self, secret: &RepositorySecret) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        match (self, secret) {
            (Self::Password(envelope), RepositorySecret::Password(password)) => {
                let password = password.clone();
                slowly(move || envelope.open(&password, CONTEXT, "the repository of snapshots")).await
            }
            (Self::Vault(sealed), RepositorySecret::Vault(vault)) => vault.open(CONTEXT, &sealed).await,
            (Self::Password(_), _) => {
                Err(VaultError::bad("the repository of snapshots", "is opened by a password; give it in TFE_BACKUP_PASSWORD"))
            }
            (Self::Vault(_), _) => Err(VaultError::bad("the repository of snapshots", "is opened by a vault, not by a password")),
        }
    }
}

/// Passwords become keys slowly, which is no work for the async threads.
async fn slowly<T: Send + 'static>(work: impl FnOnce() -> Result<T, VaultError> + Send + 'static) -> Result<T, VaultError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| VaultError::Unavailable(error.into()))?
}

/// An object; none if there is none.
async fn read(objects: &dyn ObjectStore, path: &Path) -> Result<Option<Vec<u8>>, SnapshotError> {
    let object = match objects.get(path).await {
        Ok(object) => object,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(BlobError::unavailable(error).into()),
    };
    Ok(Some(object.bytes().await.map_err(BlobError::unavailable)?.into()))
}

fn pack(plain: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut encoder, plain).and_then(|()| encoder.finish()).map_err(|error| BlobError::unavailable(error).into())
}

/// None if it is not whole, or too large to be one of ours.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    let limited = std::io::Read::take(DeflateDecoder::new(packed), MAX_PLAIN_BYTES + 1);
    let mut limited = limited;
    std::io::Read::read_to_end(&mut limited, &mut plain).ok()?;
    (plain.len() as u64 <= MAX_PLAIN_BYTES).then_some(plain)
}
