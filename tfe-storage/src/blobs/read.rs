//! Opening sealed segments on their way out of the object store.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, path::Path};
use tfe_core::{
    blob::Blob,
    cipher::{Key, Nonce, TAG_LENGTH},
    id::Id,
};

use super::{BlobError, SEALED_SEGMENT_LENGTH, SEGMENT_BYTES, source::Source};

/// Segments opened at once: 1 MiB, which bounds the memory of a reader.
const WINDOW_SEGMENTS: u64 = 16;
/// How often in a row an answer may break off before the object store counts as unavailable.
const MAX_BREAKS: u32 = 4;
/// The pause after a break, times their number.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a whole sealed segment, for positions in the object.
const SEALED_SEGMENT_BYTES: u64 = SEALED_SEGMENT_LENGTH as u64;

/// A blob being read.
pub(super) struct Reader {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    key: Key,
    id: Id<Blob>,
    /// Length of the content.
    size: u64,
    /// What of the content is still to be given.
    left: Range<u64>,
    /// Whether nothing was fetched yet; even an empty blob is looked at once.
    fresh: bool,
    /// The answer from which the next window comes.
    source: Option<Source>,
    /// The last window as it is stored.
    sealed: Bytes,
}

impl Reader {
    /// A reader of the part of the content that is in `range`, or of all.
    pub(super) fn new(objects: Arc<dyn ObjectStore>, path: Path, key: Key, blob: &Blob, range: Option<Range<u64>>) -> Self {
        let range = range.unwrap_or(0..blob.size);
        let end = range.end.min(blob.size);
        let left = range.start.min(end)..end;
        Self { objects, path, key, id: blob.id.clone(), size: blob.size, left, fresh: true, source: None, sealed: Bytes::new() }
    }

    /// The next piece of the content; none at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        if self.left.is_empty() && !self.fresh {
            return Ok(None);
        }
        self.fresh = false;
        let window = self.window();
        let sealed = self.fetch(&window).await?;
        let mut content = self.open(window.start, &sealed)?;
        self.sealed = sealed;
        let begin = window.start * SEGMENT_BYTES;
        let wanted = self.left.start - begin..self.left.end.min(begin + content.len() as u64) - begin;
        self.left.start = begin + wanted.end;
        content.truncate(as_length(wanted.end));
        let piece = content.split_off(as_length(wanted.start)).freeze();
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// The next piece as it is stored, which was found genuine, and its content; none at the end. For reading a whole blob only.
    pub(super) async fn next_sealed(&mut self) -> Result<Option<(Bytes, Bytes)>, BlobError> {
        let is_first = self.fresh;
        let content = self.next().await?;
        // Empty content has a sealed segment too.
        let content = if is_first { Some(content.unwrap_or_default()) } else { content };
        Ok(content.map(|content| (self.sealed.clone(), content)))
    }

    /// The next segments to fetch, at least one.
    fn window(&self) -> Range<u64> {
        let last_number = self.segments() - 1;
        let first = (self.left.start / SEGMENT_BYTES).min(last_number);
        let last = (self.left.end.saturating_sub(1) / SEGMENT_BYTES).clamp(first, last_number);
        first..(last + 1).min(first + WINDOW_SEGMENTS)
    }

    /// The sealed bytes of a window. An answer that breaks off is asked for again from there.
    async fn fetch(&mut self, window: &Range<u64>) -> Result<Bytes, BlobError> {
        let begin = window.start * SEALED_SEGMENT_BYTES;
        let end = self.object_position(window.end);
        let mut breaks = 0;
        loop {
            let mut source = match self.source.take() {
                Some(source) => source,
                None => self.ask(begin, end).await?,
            };
            match source.take(as_length(end - begin)).await {
                Ok(bytes) => {
                    self.source = Some(source);
                    return Ok(bytes);
                }
                Err(_) if breaks < MAX_BREAKS => breaks += 1,
                Err(error) => return Err(BlobError::unavailable(error)),
            }
            tokio::time::sleep(PAUSE * breaks).await;
        }
    }

    /// Asks for a window of the object and whatever comes after it of what is to be given.
    async fn ask(&mut self, begin: u64, window_end: u64) -> Result<Source, BlobError> {
        let end = self.object_position(self.left.end.div_ceil(SEGMENT_BYTES)).max(window_end);
        let options = GetOptions::new().with_range(Some(begin..end));
        match self.objects.get_opts(&self.path, options).await {
            Ok(object) if object.meta.size == self.object_size() => Ok(Source::new(object)),
            Ok(_) => Err(BlobError::Tampered(self.id.clone())),
            Err(object_store::Error::NotFound { .. }) => Err(BlobError::NotFound(self.id.clone())),
            Err(error) => Err(self.explained(error).await),
        }
    }

    /// Object stores refuse a range behind the end: then the object was cut.
    async fn explained(&mut self, error: object_store::Error) -> BlobError {
        match self.objects.head(&self.path).await {
            Ok(meta) if meta.size != self.object_size() => BlobError::Tampered(self.id.clone()),
            _ => BlobError::unavailable(error),
        }
    }

    fn open(&self, first: u64, sealed: &[u8]) -> Result<BytesMut, BlobError> {
        let mut content = BytesMut::with_capacity(sealed.len());
        for (number, segment) in (first..).zip(sealed.chunks(SEALED_SEGMENT_LENGTH)) {
            let mut segment = segment.to_vec();
            let nonce = Nonce::counter(number, number + 1 == self.segments());
            self.key.open(nonce, self.id.as_str().as_bytes(), &mut segment).map_err(|_| BlobError::Tampered(self.id.clone()))?;
            content.extend_from_slice(&segment);
        }
        Ok(content)
    }

    /// How many segments the object has; empty content has one too.
    fn segments(&self) -> u64 {
        self.size.div_ceil(SEGMENT_BYTES).max(1)
    }

    /// Where the segment of that number begins in the object, or the object's end.
    fn object_position(&self, segment: u64) -> u64 {
        (segment * SEALED_SEGMENT_BYTES).min(self.object_size())
    }

    fn object_size(&self) -> u64 {
        self.size.saturating_add(self.segments() * TAG_LENGTH as u64)
    }
}

/// For lengths that are bounded by a window.
fn as_length(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a window is about a megabyte")
}
