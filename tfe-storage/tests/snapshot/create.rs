//! Taking snapshots.

use std::sync::Arc;

use object_store::ObjectStore;
use tfe_core::{blob::Blob, secret::Secret};
use tfe_storage::{
    Batch, Blobs, MemoryVault, StoreExt,
    snapshot::{self, Choice, Repository, RepositorySecret, SnapshotError},
};

use crate::{
    dying::Dying,
    places::{At, KINDS, Now, add_blob, bring, count_one, digest_of, empty, filled, objects, repository, take},
};

#[tokio::test]
async fn what_did_not_change_is_not_written_again() {
    let (place, objects) = (filled().await, objects());
    let counting = |left| Dying::after(&objects, left);
    let first = counting(i64::MAX);
    let all = first.clone() as Arc<dyn ObjectStore>;
    take(&repository(&all).await, &place, &Now).await.unwrap();
    count_one(&place).await;
    add_blob(&place, 9, 1_000).await;
    let second = counting(i64::MAX);
    let all = second.clone() as Arc<dyn ObjectStore>;
    let expected = digest_of(&place).await;
    take(&repository(&all).await, &place, &Now).await.unwrap();
    // Its mark, the manifest and the note of it, the new blob, and the parts of the changed shelf and of the blob's record.
    assert!(second.written() <= 7, "{} writes, {} for all", second.written(), first.written());
    assert!(first.written() > second.written() + 3);
    let restored = empty();
    bring(&repository(&objects).await, &restored, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&restored).await, expected);
}

#[tokio::test]
async fn a_creation_that_dies_anywhere_leaves_every_snapshot_whole() {
    let (place, objects) = (filled().await, objects());
    let whole = repository(&objects).await;
    take(&whole, &place, &At(1_000)).await.unwrap();
    let expected = digest_of(&place).await;
    add_blob(&place, 9, 300_000).await;
    count_one(&place).await;
    let mut died = 0;
    for writes in 0.. {
        let dying: Arc<dyn ObjectStore> = Dying::after(&objects, writes);
        let repository = Repository::open(dying, &crate::places::secret()).await.unwrap();
        let taken = take(&repository, &place, &At(2_000)).await;
        let restored = empty();
        bring(&whole, &restored, &Choice::Newest).await.unwrap();
        if taken.is_ok() || digest_of(&restored).await == digest_of(&place).await {
            assert_ne!(digest_of(&restored).await, expected);
            break;
        }
        assert_eq!(digest_of(&restored).await, expected, "after {writes} writes");
        died += 1;
    }
    // Each goes on with what the ones before wrote.
    assert!(died >= 4, "{died}");
}

#[tokio::test]
async fn a_snapshot_that_would_lack_something_is_an_error() {
    let (place, objects) = (filled().await, objects());
    Blobs::new(place.objects.clone(), place.vault.clone()).delete(&"blob-2".into()).await.unwrap();
    let taken = take(&repository(&objects).await, &place, &Now).await;
    assert!(matches!(&taken, Err(SnapshotError::Incomplete { record, .. }) if record == "blobs blob-2"), "{taken:?}");
    assert_eq!(repository(&objects).await.ids().await.unwrap(), [""; 0]);
    // With the record gone too it is whole.
    let blob = place.store.find::<Blob>("blob-2").await.unwrap().unwrap();
    place.store.commit(Batch::new().delete(&blob)).await.unwrap();
    take(&repository(&objects).await, &place, &Now).await.unwrap();
}

#[tokio::test]
async fn only_its_secret_opens_a_repository() {
    let (place, objects) = (filled().await, objects());
    let taken = take(&repository(&objects).await, &place, &Now).await.unwrap();
    let wrong = Repository::open(objects.clone(), &RepositorySecret::Password(Secret::from("wrong"))).await;
    assert!(matches!(wrong, Err(SnapshotError::Secret(_))), "{wrong:?}");
    let vault: Arc<dyn tfe_storage::Vault> = Arc::new(MemoryVault::new().unwrap());
    let wrong = Repository::open_or_create(objects.clone(), &RepositorySecret::Vault(vault.clone())).await;
    assert!(matches!(wrong, Err(SnapshotError::Secret(_))), "{wrong:?}");
    assert_eq!(repository(&objects).await.ids().await.unwrap(), [taken.id]);
    let sealed_by_vault = Repository::open_or_create(crate::places::objects(), &RepositorySecret::Vault(vault)).await.unwrap();
    take(&sealed_by_vault, &place, &Now).await.unwrap();
    let target = empty();
    snapshot::restore(&sealed_by_vault, &target, KINDS, &Choice::Newest, &mut |_, _| {}).await.unwrap();
}

#[tokio::test]
async fn nothing_in_a_repository_can_be_read_without_its_secret() {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    let (place, objects) = (filled().await, objects());
    take(&repository(&objects).await, &place, &Now).await.unwrap();
    let found: Vec<_> = objects.list(None).try_collect().await.unwrap();
    assert!(found.len() > 8);
    for object in found {
        let bytes = objects.get(&object.location).await.unwrap().bytes().await.unwrap();
        for planted in [&b"signing key"[..], b"book-100", b"demo"] {
            assert!(!bytes.windows(planted.len()).any(|window| window == planted), "{}", object.location);
        }
    }
}
