//! What blobs must do in every object store.

#![expect(clippy::needless_pass_by_value, reason = "assertions read best around the call whose result they take")]

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tfe_core::{blob::Blob, id::Id, time::Timestamp};

use crate::{BlobError, Blobs};

type Objects = Arc<dyn ObjectStore>;

const SEGMENT: usize = 64 * 1024;
/// More than fits into one part of an upload.
const LARGE: usize = 128 * SEGMENT + SEGMENT / 2;
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// Content of every length around the edges comes back, in whatever pieces it was sent.
pub async fn reads_what_was_put(blobs: Blobs, _objects: Objects) {
    for length in [0, 1, 1000, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 17 * SEGMENT + 5] {
        for piece in [7_000, SEGMENT, SEGMENT + 1, 20 * SEGMENT] {
            let content = content(length);
            let pieces = stream::iter(content.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>());
            let blob = blobs.put(id(&format!("{length}-{piece}")), NOW, pieces, length as u64).await.unwrap();
            assert_eq!((blob.size, blob.created_at), (length as u64, NOW));
            assert_eq!(blobs.read_all(&blob, length as u64).await.unwrap(), content);
        }
    }
}

/// A range gives exactly its bytes; what is behind the end is left out.
pub async fn reads_every_range(blobs: Blobs, _objects: Objects) {
    let content = content(3 * SEGMENT + 10);
    let blob = blobs.put_bytes(id("1"), NOW, content.clone()).await.unwrap();
    let edges = [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT, 3 * SEGMENT + 9, 3 * SEGMENT + 10, 9 * SEGMENT];
    for start in edges {
        for end in edges {
            let part = blobs.read(&blob, Some(start as u64..end as u64)).await.unwrap();
            let part = part.try_fold(Vec::new(), async |all, piece| Ok([all, piece.to_vec()].concat())).await.unwrap();
            let expected = content.get(start..end.clamp(start, content.len().max(start))).unwrap_or_default();
            assert_eq!(part, expected, "{start}..{end}");
        }
    }
}

/// The record says what the protocols ask for.
pub async fn knows_size_and_digests(blobs: Blobs, _objects: Objects) {
    let blob = blobs.put_bytes(id("1"), NOW, "abc").await.unwrap();
    assert_eq!(blob.size, 3);
    assert_eq!(blob.md5, "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(blob.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert!(matches!(blobs.read_all(&blob, 2).await, Err(BlobError::TooLarge { limit_bytes: 2 })));
}

/// Too much is refused, before and after an upload in parts has begun, and nothing stays.
pub async fn refuses_content_over_the_limit(blobs: Blobs, objects: Objects) {
    for length in [1, 100, LARGE] {
        let limit = length as u64 - 1;
        let pieces = pieces(length);
        let result = blobs.put(id("1"), NOW, pieces, limit).await;
        assert!(matches!(result, Err(BlobError::TooLarge { limit_bytes }) if limit_bytes == limit), "{result:?}");
        assert_eq!(paths(&objects).await, []);
    }
}

/// Content that breaks off leaves nothing.
pub async fn keeps_nothing_of_interrupted_content(blobs: Blobs, objects: Objects) {
    for length in [0, LARGE] {
        let broken = pieces(length).chain(stream::iter([Err(io::Error::other("the client is gone"))]));
        let result = blobs.put(id("1"), NOW, broken, u64::MAX).await;
        assert!(matches!(result, Err(BlobError::Interrupted(_))), "{result:?}");
        assert_eq!(paths(&objects).await, []);
    }
}

/// A deleted blob is gone, and deleting it again is fine.
pub async fn deletes(blobs: Blobs, objects: Objects) {
    for content in ["", "content"] {
        let blob = blobs.put_bytes(id("1"), NOW, content).await.unwrap();
        blobs.delete(&blob.id).await.unwrap();
        blobs.delete(&blob.id).await.unwrap();
        assert_eq!(paths(&objects).await, []);
        assert!(matches!(blobs.read(&blob, None).await.err(), Some(BlobError::NotFound(_))));
    }
}

/// Whoever has the object store reads nothing, and sees no equality.
pub async fn stores_no_plain_text(blobs: Blobs, objects: Objects) {
    let text = b"db_password = hunter2 ".repeat(10_000);
    for name in ["1", "2"] {
        blobs.put_bytes(id(name), NOW, text.clone()).await.unwrap();
    }
    let paths = paths(&objects).await;
    let [one, other] = [object(&objects, &paths[0]).await, object(&objects, &paths[1]).await];
    for sealed in [&one, &other] {
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    }
    assert_ne!(one[..SEGMENT], other[..SEGMENT]);
    assert_ne!(one[..1000], one[SEGMENT + 16..SEGMENT + 1016]);
}

/// A flipped bit anywhere is noticed.
pub async fn detects_every_flipped_bit(blobs: Blobs, objects: Objects) {
    let blob = blobs.put_bytes(id("1"), NOW, content(2 * SEGMENT + 100)).await.unwrap();
    let path = paths(&objects).await.remove(0);
    let sealed = object(&objects, &path).await;
    let edges = [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 15, SEGMENT + 16, sealed.len() - 16, sealed.len() - 1];
    for index in edges.into_iter().chain((0..sealed.len()).step_by(9_973)) {
        let mut changed = sealed.to_vec();
        changed[index] ^= 1 << (index % 8);
        objects.put(&path, changed.into()).await.unwrap();
        assert_tampered(blobs.read_all(&blob, u64::MAX).await, index);
    }
    objects.put(&path, sealed.into()).await.unwrap();
    blobs.read_all(&blob, u64::MAX).await.unwrap();
}

/// A cut anywhere is noticed, also between segments, and so is an addition.
pub async fn detects_every_cut(blobs: Blobs, objects: Objects) {
    let blob = blobs.put_bytes(id("1"), NOW, content(3 * SEGMENT)).await.unwrap();
    let path = paths(&objects).await.remove(0);
    let sealed = object(&objects, &path).await;
    let whole = SEGMENT + 16;
    for length in [0, 1, 16, SEGMENT, whole - 1, whole, whole + 1, 2 * whole, 2 * whole + 16, sealed.len() - 1] {
        objects.put(&path, sealed.slice(..length).into()).await.unwrap();
        assert_tampered(blobs.read_all(&blob, u64::MAX).await, length);
        // A record that was cut to match does not help.
        let size = (length - length.div_ceil(whole) * 16.min(length)) as u64;
        let result = blobs.read_all(&Blob { size, ..blob.clone() }, u64::MAX).await;
        assert!(result.is_err(), "cut to {length}");
    }
    let longer = [sealed.as_ref(), b"x"].concat();
    objects.put(&path, longer.into()).await.unwrap();
    assert_tampered(blobs.read_all(&blob, u64::MAX).await, sealed.len() + 1);
}

/// One blob's object in the place of another's is noticed, and so is another's key.
pub async fn detects_a_swapped_object(blobs: Blobs, objects: Objects) {
    let one = blobs.put_bytes(id("1"), NOW, content(100)).await.unwrap();
    let path = paths(&objects).await.remove(0);
    let sealed = object(&objects, &path).await;
    let other = blobs.put_bytes(id("2"), NOW, content(100)).await.unwrap();
    let other_path = paths(&objects).await.into_iter().find(|candidate| *candidate != path).unwrap();
    objects.put(&other_path, sealed.into()).await.unwrap();
    assert_tampered(blobs.read_all(&other, u64::MAX).await, 0);
    let disguised = Blob { wrapped_key: one.wrapped_key.clone(), ..other };
    assert!(matches!(blobs.read_all(&disguised, u64::MAX).await, Err(BlobError::Vault(_))));
}

/// Content that takes an upload in parts and a read in windows.
pub async fn reads_from_the_middle_of_large_content(blobs: Blobs, _objects: Objects) {
    let content = content(LARGE);
    let blob = blobs.put(id("1"), NOW, pieces(LARGE), LARGE as u64).await.unwrap();
    assert_eq!(blobs.read_all(&blob, LARGE as u64).await.unwrap(), content);
    let part = blobs.read(&blob, Some(5_000_000..7_500_000)).await.unwrap();
    let part = part.try_fold(Vec::new(), async |all, piece| Ok([all, piece.to_vec()].concat())).await.unwrap();
    assert_eq!(part, content[5_000_000..7_500_000]);
}

fn id(name: &str) -> Id<Blob> {
    format!("blob-test{name}").into()
}

/// Bytes of which no two segments are equal.
fn content(length: usize) -> Bytes {
    let byte = |index: usize| index.to_le_bytes();
    (0..length).map(|index| byte(index)[0] ^ byte(index)[1] ^ byte(index)[2].wrapping_mul(31)).collect()
}

fn pieces(length: usize) -> stream::Iter<std::vec::IntoIter<io::Result<Bytes>>> {
    let content = content(length);
    let pieces = (0..length).step_by(100_000).map(|begin| Ok(content.slice(begin..(begin + 100_000).min(length))));
    stream::iter(pieces.collect::<Vec<_>>())
}

async fn paths(objects: &Objects) -> Vec<Path> {
    let mut paths: Vec<_> = objects.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    paths.sort();
    paths
}

async fn object(objects: &Objects, path: &Path) -> Bytes {
    objects.get(path).await.unwrap().bytes().await.unwrap()
}

#[track_caller]
fn assert_tampered(result: Result<Bytes, BlobError>, at: usize) {
    assert!(matches!(result, Err(BlobError::Tampered(_))), "{at}: {result:?}");
}
