//! Blobs keep the promises in memory and in a directory.

use std::{path::Path, sync::Arc};

use object_store::{ObjectStore, local::LocalFileSystem};
use tfe_core::time::Timestamp;
use tfe_storage::{BlobError, Blobs, MemoryVault};

mod memory {
    use object_store::memory::InMemory;

    use super::{Arc, Blobs, MemoryVault, ObjectStore};

    async fn with_blobs(test: impl AsyncFnOnce(Blobs, Arc<dyn ObjectStore>)) {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let vault = Arc::new(MemoryVault::new().unwrap());
        test(Blobs::new(Arc::clone(&objects), vault), objects).await;
    }

    tfe_storage::blobs_conformance!(with_blobs);
}

mod local {
    use super::{Arc, Blobs, LocalFileSystem, MemoryVault, ObjectStore};

    async fn with_blobs(test: impl AsyncFnOnce(Blobs, Arc<dyn ObjectStore>)) {
        let directory = tempfile::tempdir().unwrap();
        let vault = Arc::new(MemoryVault::new().unwrap());
        let blobs = Blobs::local(directory.path(), vault).unwrap();
        let objects = Arc::new(LocalFileSystem::new_with_prefix(directory.path()).unwrap());
        test(blobs, objects).await;
    }

    tfe_storage::blobs_conformance!(with_blobs);
}

#[tokio::test]
async fn another_vault_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = || Blobs::local(directory.path().join("made"), Arc::new(MemoryVault::new().unwrap())).unwrap();
    let blob = blobs().put_bytes("blob-test1".into(), Timestamp::default(), "content").await.unwrap();
    assert!(matches!(blobs().read_all(&blob, 100).await, Err(BlobError::Vault(_))));
}

#[tokio::test]
async fn a_dropped_upload_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(directory.path(), Arc::new(MemoryVault::new().unwrap())).unwrap();
    let piece = bytes::Bytes::from(vec![7; 9 * 1024 * 1024]);
    let (sent, content) = futures::channel::mpsc::unbounded();
    sent.unbounded_send(Ok(piece)).unwrap();
    let upload = blobs.put("blob-test1".into(), Timestamp::default(), content, u64::MAX);
    // The content never ends, so the upload is dropped after its first part has made a file.
    tokio::select! {
        result = upload => panic!("the content has no end, but {result:?}"),
        () = until(|| files(directory.path()) > 0) => {}
    }
    until(|| files(directory.path()) == 0).await;
    drop(sent);
}

async fn until(condition: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it has not happened within ten seconds");
}

fn files(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}
