//! Copying the objects of blobs.

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use tfe_core::{
    blob::{BLOBS, Blob},
    id::Id,
};

use super::{MigrateError, Place, Progress, Stage};
use crate::{
    BlobError,
    blobs::{object_path, write_object},
    rewrap::page_after,
};

/// Records that are read at once.
const PAGE: u64 = 200;

/// Copies every object that a record names and that the target does not have in the same length.
pub(super) async fn copy(source: &Place, target: &Place, progress: Progress<'_>) -> Result<(), MigrateError> {
    let mut done = 0;
    let mut after: Option<String> = None;
    loop {
        let page = page_after(&*source.store, &BLOBS, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.id.clone());
        for record in &page {
            let id = Id::<Blob>::from(record.id.as_str());
            let failed = |error| MigrateError::Blob { id: id.to_string(), source: error };
            copy_one(&*source.objects, &*target.objects, &id).await.map_err(failed)?;
            done += 1;
        }
        progress(Stage::Blobs, done);
    }
}

async fn copy_one(source: &dyn ObjectStore, target: &dyn ObjectStore, id: &Id<Blob>) -> Result<(), BlobError> {
    let path = object_path(id);
    let object = match source.get(&path).await {
        Ok(object) => object,
        Err(object_store::Error::NotFound { .. }) => return Err(BlobError::NotFound(id.clone())),
        Err(error) => return Err(BlobError::unavailable(error)),
    };
    // A half-written object does not exist: puts are whole. Whether an old one is the right one is verified at the end.
    if target.head(&path).await.is_ok_and(|present| present.size == object.meta.size) {
        return Ok(());
    }
    let size = object.meta.size;
    write_object(target, &path, size, object.into_stream().map_err(BlobError::unavailable)).await
}
