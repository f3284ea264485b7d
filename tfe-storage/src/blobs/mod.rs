//! Large content: sealed in segments under a key of its own, in any object store.
//!
//! ```text
//! content   │ 64 KiB      │ 64 KiB      │ rest │
//! object    │ sealed, tag │ sealed, tag │ …    │   nonce = (number of the segment, whether it is the last)
//! ```
//!
//! The data key is random, used for this blob alone and kept in the blob's record, wrapped by the vault. A segment
//! can be read without the others, none can be changed, moved, left out or taken from another blob, and whoever has
//! the object store alone has nothing. The object is written first; committing its record makes it count.

mod location;
mod probe;
mod read;
mod sealed;
mod source;
mod transfer;
mod write;

use std::{io, ops::Range, path::Path, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path as ObjectPath};
use tfe_core::{
    blob::Blob,
    cipher::{KEY_LENGTH, Key, TAG_LENGTH},
    id::Id,
    time::Timestamp,
};
use zeroize::Zeroizing;

pub use self::{
    location::{ObjectOption, open_objects},
    probe::probe,
};
use self::{read::Reader, write::Upload};
pub(crate) use self::{
    sealed::{Checked, SealedBlob},
    transfer::write_object,
};
use crate::vault::{Vault, VaultError};

/// Bytes of content in one segment: small enough that a range costs little more than itself, large enough that tags
/// and calls cost nothing.
const SEGMENT_LENGTH: usize = 64 * 1024;
/// Below what objects are.
pub(crate) const DIRECTORY: &str = "blobs";
/// The same, for positions in the content.
const SEGMENT_BYTES: u64 = SEGMENT_LENGTH as u64;
/// Bytes of a whole sealed segment.
const SEALED_SEGMENT_LENGTH: usize = SEGMENT_LENGTH + TAG_LENGTH;

/// Content as it is read. An error ends it; what came before is genuine but not complete.
pub type BlobStream = BoxStream<'static, io::Result<Bytes>>;

/// Keeps blobs in an object store.
#[derive(Debug, Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    vault: Arc<dyn Vault>,
    observer: Option<Arc<dyn BlobObserver>>,
}

/// Who wants to know how much is written and read.
pub trait BlobObserver: std::fmt::Debug + Send + Sync {
    /// A blob of that many bytes was written.
    fn wrote(&self, bytes: u64);

    /// That many bytes of a blob were asked for.
    fn read(&self, bytes: u64);
}

/// Why a blob cannot be written or read, by what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The object is gone. Its record is stale, or the object store lost it.
    #[error("the blob {0} does not exist")]
    NotFound(Id<Blob>),
    /// The content is longer than allowed. Nothing was kept.
    #[error("the content is longer than {limit_bytes} bytes")]
    TooLarge {
        /// What is allowed.
        limit_bytes: u64,
    },
    /// The stored object was changed or cut. Restore it from a backup.
    #[error("the blob {0} was changed in the object store")]
    Tampered(Id<Blob>),
    /// The content to be stored could not be read to its end. Send it again; nothing was kept.
    #[error("the content ended early")]
    Interrupted(#[source] io::Error),
    /// The vault did not wrap or unwrap the data key.
    #[error("the blob's key is not available")]
    Vault(#[from] VaultError),
    /// The address or the settings of the object store are wrong. Correct them.
    #[error("the object store's address is wrong: {0}")]
    Address(String),
    /// The disk is full. Make space; nothing was kept.
    #[error("the object store has no space left")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The object store cannot be reached or failed. Try again later.
    #[error("the object store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Blobs {
    /// Blobs in that object store, their keys wrapped by that vault.
    pub fn new(objects: Arc<dyn ObjectStore>, vault: Arc<dyn Vault>) -> Self {
        Self { objects, vault, observer: None }
    }

    /// The same objects with another handle to the same vault, and an observer.
    #[must_use]
    pub fn observed(self, vault: Arc<dyn Vault>, observer: Arc<dyn BlobObserver>) -> Self {
        Self { vault, observer: Some(observer), ..self }
    }

    /// Blobs in a directory, which is made if missing. A written blob is on the disk when [`Blobs::put`] returns.
    pub fn local(directory: impl AsRef<Path>, vault: Arc<dyn Vault>) -> Result<Self, BlobError> {
        Ok(Self::new(location::directory(directory.as_ref())?, vault))
    }

    /// Stores content and returns its record, which the caller commits together with what refers to it. Holds a few
    /// megabytes in memory, however long the content is. A call that is dropped half way leaves nothing in a
    /// directory; in a cloud's store its parts remain until the bucket's rule for incomplete uploads removes them.
    pub async fn put(
        &self,
        id: Id<Blob>,
        now: Timestamp,
        content: impl Stream<Item = io::Result<Bytes>> + Send + Unpin,
        limit_bytes: u64,
    ) -> Result<Blob, BlobError> {
        let key = new_key()?;
        let wrapped_key = self.vault.seal(&Blob::KEY.context(&id), key.expose()).await?;
        let upload = Upload::new(Arc::clone(&self.objects), object_path(&id), key, id.to_string());
        let summary = upload.run(content, limit_bytes).await?;
        let (size, md5, sha256) = (summary.size, summary.md5, summary.sha256);
        if let Some(observer) = &self.observer {
            observer.wrote(size);
        }
        Ok(Blob { id, created_at: now, size, md5, sha256, wrapped_key })
    }

    /// Stores content that is in memory.
    pub async fn put_bytes(&self, id: Id<Blob>, now: Timestamp, content: impl Into<Bytes> + Send) -> Result<Blob, BlobError> {
        let content = content.into();
        let limit_bytes = content.len() as u64;
        self.put(id, now, stream::iter([Ok(content)]), limit_bytes).await
    }

    /// Reads a blob, or the part of it that is in `range`. The beginning is read before this returns, so that most
    /// failures show here and not in the stream, where they are errors of the kind [`io::ErrorKind::InvalidData`] if
    /// the blob was changed and [`io::ErrorKind::Other`] else.
    pub async fn read(&self, blob: &Blob, range: Option<Range<u64>>) -> Result<BlobStream, BlobError> {
        let key = self.vault.open(&Blob::KEY.context(&blob.id), &blob.wrapped_key).await?;
        let key = Key::from_slice(&key).ok_or(VaultError::Tampered)?;
        if let Some(observer) = &self.observer {
            let asked = range.clone().unwrap_or(0..blob.size);
            observer.read(asked.end.min(blob.size).saturating_sub(asked.start));
        }
        let mut reader = Reader::new(Arc::clone(&self.objects), object_path(&blob.id), key, blob, range);
        let first = reader.next().await?;
        let rest = stream::try_unfold(reader, async |mut reader| {
            let piece = reader.next().await?;
            Ok::<_, BlobError>(piece.map(|piece| (piece, reader)))
        });
        Ok(stream::iter(first.map(Ok)).chain(rest.map_err(io::Error::from)).boxed())
    }

    /// Reads a whole blob into memory, if it is not longer than `limit_bytes`.
    pub async fn read_all(&self, blob: &Blob, limit_bytes: u64) -> Result<Bytes, BlobError> {
        if blob.size > limit_bytes {
            return Err(BlobError::TooLarge { limit_bytes });
        }
        let mut content = BytesMut::new();
        let mut stream = self.read(blob, None).await?;
        while let Some(bytes) = stream.try_next().await.map_err(|error| BlobError::from_stream(error, &blob.id))? {
            content.extend_from_slice(&bytes);
        }
        Ok(content.freeze())
    }

    /// The object store.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Whether the object store answers.
    pub async fn check(&self) -> Result<(), BlobError> {
        match self.objects.head(&ObjectPath::from("check")).await {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::unavailable(error)),
        }
    }

    /// The ids of blobs whose objects were written before that time, whether there are records of them or not.
    pub fn written_before(&self, time: Timestamp) -> BoxStream<'static, Result<Id<Blob>, BlobError>> {
        let objects = self.objects.list(Some(&ObjectPath::from(DIRECTORY)));
        let old = objects.try_filter_map(move |object| async move {
            let is_old = object.last_modified.timestamp_millis() < time.as_millis();
            Ok(object.location.filename().filter(|_| is_old).map(Id::from))
        });
        old.map_err(BlobError::unavailable).boxed()
    }

    /// Deletes the object of a blob; one that is missing is fine.
    pub async fn delete(&self, id: &Id<Blob>) -> Result<(), BlobError> {
        match self.objects.delete(&object_path(id)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(BlobError::unavailable(error)),
        }
    }
}

impl BlobError {
    pub(crate) fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        if is_full(source.as_ref()) { Self::Full(source) } else { Self::Unavailable(source) }
    }

    /// The error that a stream carried inside of an I/O error.
    fn from_stream(error: io::Error, id: &Id<Blob>) -> Self {
        if error.kind() == io::ErrorKind::InvalidData { Self::Tampered(id.clone()) } else { Self::unavailable(error) }
    }
}

impl From<BlobError> for io::Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Tampered(_) => Self::new(io::ErrorKind::InvalidData, error),
            _ => Self::other(error),
        }
    }
}

/// Whether an error, or one of its causes, is that of a full disk or an exceeded quota.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Where the object is. The last two characters of the id are a directory, since a million files in one are slow.
pub(crate) fn object_path(id: &Id<Blob>) -> ObjectPath {
    let text = id.as_str();
    let fan = text.char_indices().rev().nth(1).map_or(text, |(index, _)| &text[index..]);
    ObjectPath::from_iter([DIRECTORY, fan, text])
}

fn new_key() -> Result<Key, BlobError> {
    let mut bytes = Zeroizing::new([0; KEY_LENGTH]);
    getrandom::fill(bytes.as_mut_slice()).map_err(BlobError::unavailable)?;
    Ok(Key::new(*bytes))
}

fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}
