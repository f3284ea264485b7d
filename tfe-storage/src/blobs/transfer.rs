//! Writing an object that is there in pieces, in parts that every object store takes.

use bytes::{Bytes, BytesMut};
use futures::{Stream, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};

use super::BlobError;

/// Length of the parts in which a large object is written; all but the last must have the same.
const PART_LENGTH: usize = 8 * 1024 * 1024;

/// Writes an object of `size` bytes, or leaves nothing. An error of the stream is given back as it is.
pub(crate) async fn write_object(
    target: &dyn ObjectStore,
    path: &Path,
    size: u64,
    content: impl Stream<Item = Result<Bytes, BlobError>> + Send + Unpin,
) -> Result<(), BlobError> {
    if size <= PART_LENGTH as u64 {
        let pieces: Vec<Bytes> = content.try_collect().await?;
        return target.put(path, pieces.into_iter().collect::<PutPayload>()).await.map(drop).map_err(BlobError::unavailable);
    }
    let mut upload = target.put_multipart(path).await.map_err(BlobError::unavailable)?;
    let written = write_parts(&mut *upload, content).await;
    if written.is_err() {
        // What counts is the first error.
        let _ = upload.abort().await;
    }
    written
}

async fn write_parts(
    upload: &mut dyn object_store::MultipartUpload,
    mut content: impl Stream<Item = Result<Bytes, BlobError>> + Send + Unpin,
) -> Result<(), BlobError> {
    let mut part = BytesMut::new();
    while let Some(bytes) = content.try_next().await? {
        part.extend_from_slice(&bytes);
        while part.len() >= PART_LENGTH {
            upload.put_part(PutPayload::from(part.split_to(PART_LENGTH).freeze())).await.map_err(BlobError::unavailable)?;
        }
    }
    if !part.is_empty() {
        upload.put_part(PutPayload::from(part.freeze())).await.map_err(BlobError::unavailable)?;
    }
    upload.complete().await.map(drop).map_err(BlobError::unavailable)
}
