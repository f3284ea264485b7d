//! Copying blobs as they are sealed, looking at every segment on the way: what was changed is not passed on.

use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use object_store::{ObjectStore, path::Path};
use sha2::{Digest, Sha256};
use tfe_core::{
    blob::Blob,
    cipher::{Key, TAG_LENGTH},
};

use super::{BlobError, SEGMENT_BYTES, object_path, read::Reader, write_object};

/// A sealed object, with what opens it.
#[derive(Debug, Clone)]
pub(crate) struct SealedBlob {
    /// Where it is.
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// Its record.
    pub(crate) blob: Blob,
    /// Its data key.
    pub(crate) key: Key,
}

/// How closely content is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Every segment belongs to this blob, at its place.
    Segments,
    /// That, and the digest in the record.
    Digest,
}

impl SealedBlob {
    /// Copies the object to another store, where it has the same path. What is not genuine is refused.
    pub(crate) async fn copy_to(&self, target: &dyn ObjectStore) -> Result<(), BlobError> {
        write_object(target, &self.path(), self.object_size(), Box::pin(self.pieces().map_ok(|(sealed, _)| sealed))).await
    }

    /// Reads all of it.
    pub(crate) async fn check(&self, how: Checked) -> Result<(), BlobError> {
        let pieces = self.pieces();
        if how == Checked::Segments {
            return pieces.try_for_each(async |_| Ok(())).await;
        }
        let hash = pieces.try_fold(Sha256::new(), async |hash, (_, content)| Ok(hash.chain_update(&content))).await?;
        let digest = crate::migrate::hex(&hash.finalize());
        if digest == self.blob.sha256 { Ok(()) } else { Err(BlobError::Tampered(self.blob.id.clone())) }
    }

    /// Where the object is.
    pub(crate) fn path(&self) -> Path {
        object_path(&self.blob.id)
    }

    /// Length of the object.
    pub(crate) fn object_size(&self) -> u64 {
        let segments = self.blob.size.div_ceil(SEGMENT_BYTES).max(1);
        self.blob.size.saturating_add(segments * TAG_LENGTH as u64)
    }

    fn pieces(&self) -> impl Stream<Item = Result<(Bytes, Bytes), BlobError>> + Send {
        let reader = Reader::new(self.objects.clone(), self.path(), self.key.clone(), &self.blob, None);
        stream::try_unfold(reader, async |mut reader| Ok(reader.next_sealed().await?.map(|piece| (piece, reader))))
    }
}
