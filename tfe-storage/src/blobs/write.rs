//! Sealing content on its way into the object store.

use std::{io, mem, sync::Arc};

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use md5::{Digest, Md5};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, path::Path};
use sha2::Sha256;
use tfe_core::cipher::{Key, Nonce, TAG_LENGTH};
use tokio::task::JoinSet;

use super::{BlobError, SEALED_SEGMENT_LENGTH, SEGMENT_LENGTH};

/// Segments in one part of an upload. Clouds want parts of 5 MiB or more, some all of the same size, and at most ten
/// thousand: 8 MiB allow blobs of 78 GiB.
const PART_SEGMENTS: usize = 128;
/// Bytes in a full part.
const PART_LENGTH: usize = PART_SEGMENTS * SEALED_SEGMENT_LENGTH;
/// Parts on their way at once: one travels while the next is sealed. More cost memory, a part each, and gain little.
const MAX_PARTS_AWAY: usize = 2;

/// A blob being written: content gathers in `segment`, sealed segments in `part`.
pub(super) struct Upload {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    key: Key,
    context: String,
    /// The number of the segment that is being gathered.
    number: u64,
    segment: Vec<u8>,
    part: Vec<u8>,
    /// Begun when the first part is full; what fits into one part is written by a single put.
    multipart: Option<Box<dyn MultipartUpload>>,
    /// Parts that are on their way.
    away: JoinSet<object_store::Result<()>>,
    size: u64,
    md5: Md5,
    sha256: Sha256,
}

/// What is known of the content at its end.
pub(super) struct Summary {
    pub(super) size: u64,
    pub(super) md5: String,
    pub(super) sha256: String,
}

impl Upload {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, path: Path, key: Key, context: String) -> Self {
        let (segment, part) = (Vec::new(), Vec::new());
        let (md5, sha256) = (Md5::new(), Sha256::new());
        Self { objects, path, key, context, number: 0, segment, part, multipart: None, away: JoinSet::new(), size: 0, md5, sha256 }
    }

    /// Writes all of the content, or leaves nothing.
    pub(super) async fn run(
        mut self,
        content: impl Stream<Item = io::Result<Bytes>> + Send + Unpin,
        limit_bytes: u64,
    ) -> Result<Summary, BlobError> {
        match self.write(content, limit_bytes).await {
            Ok(()) => Ok(Summary { size: self.size, md5: hex(&self.md5.finalize()), sha256: hex(&self.sha256.finalize()) }),
            Err(error) => {
                self.away.shutdown().await;
                if let Some(mut multipart) = self.multipart.take() {
                    // The upload's own error is what the caller must know; parts left behind expire.
                    let _ = multipart.abort().await;
                }
                Err(error)
            }
        }
    }

    async fn write(
        &mut self,
        mut content: impl Stream<Item = io::Result<Bytes>> + Send + Unpin,
        limit_bytes: u64,
    ) -> Result<(), BlobError> {
        while let Some(bytes) = content.next().await {
            let bytes = bytes.map_err(BlobError::Interrupted)?;
            self.size += bytes.len() as u64;
            if self.size > limit_bytes {
                return Err(BlobError::TooLarge { limit_bytes });
            }
            self.md5.update(&bytes);
            self.sha256.update(&bytes);
            self.gather(bytes).await?;
        }
        self.finish().await
    }

    /// A full segment is sealed only when more comes, since the last one is sealed differently.
    async fn gather(&mut self, mut bytes: Bytes) -> Result<(), BlobError> {
        while bytes.has_remaining() {
            if self.segment.len() == SEGMENT_LENGTH {
                self.seal_segment(false);
                if self.part.len() == PART_LENGTH {
                    self.send_part().await?;
                }
            }
            let room = SEGMENT_LENGTH - self.segment.len();
            let taken = bytes.split_to(room.min(bytes.len()));
            self.segment.reserve(taken.len() + TAG_LENGTH);
            self.segment.extend_from_slice(&taken);
        }
        Ok(())
    }

    fn seal_segment(&mut self, last: bool) {
        self.key.seal(Nonce::counter(self.number, last), self.context.as_bytes(), &mut self.segment);
        self.part.append(&mut self.segment);
        self.number += 1;
    }

    async fn send_part(&mut self) -> Result<(), BlobError> {
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            None => self.multipart.insert(self.objects.put_multipart(&self.path).await.map_err(BlobError::unavailable)?),
        };
        let part = mem::take(&mut self.part);
        let sending = multipart.put_part(part.into());
        self.away.spawn(sending);
        self.arrived(MAX_PARTS_AWAY - 1).await
    }

    /// Waits until at most so many parts are on their way.
    async fn arrived(&mut self, most: usize) -> Result<(), BlobError> {
        while self.away.len() > most {
            match self.away.join_next().await {
                None | Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => return Err(BlobError::unavailable(error)),
                Some(Err(error)) => return Err(BlobError::unavailable(error)),
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), BlobError> {
        self.seal_segment(true);
        if self.multipart.is_none() {
            let object = mem::take(&mut self.part);
            return self.objects.put(&self.path, object.into()).await.map(drop).map_err(BlobError::unavailable);
        }
        self.send_part().await?;
        self.arrived(0).await?;
        match &mut self.multipart {
            Some(multipart) => multipart.complete().await.map(drop).map_err(BlobError::unavailable),
            None => Ok(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |text, byte| text + &format!("{byte:02x}"))
}
