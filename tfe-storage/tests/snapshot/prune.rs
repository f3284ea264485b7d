//! Removing snapshots.

use std::{collections::HashSet, sync::Arc};

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tfe_core::{
    blob::Blob,
    time::{Clock, Timestamp},
};
use tfe_storage::{
    Batch, StoreExt,
    migrate::Place,
    snapshot::{self, Choice, JournaledStore, Pruned, Repository, Shipper, SnapshotError},
    testing::kinds::Book,
};

use crate::{
    dying::Dying,
    places::{At, KINDS, Now, add_blob, bring, count_one, digest_of, empty, filled, objects, repository, secret, take, tick},
};

/// Long enough from now that nothing is young.
fn later() -> Timestamp {
    Now.now().plus_seconds(3 * 24 * 60 * 60)
}

fn only(ids: &[&String]) -> impl FnOnce(&[(String, Timestamp)]) -> HashSet<String> + Send {
    let ids: HashSet<String> = ids.iter().map(|id| (*id).clone()).collect();
    move |_| ids
}

async fn count(objects: &Arc<dyn ObjectStore>) -> usize {
    objects.list(None).try_collect::<Vec<_>>().await.unwrap().len()
}

#[tokio::test]
async fn what_is_kept_stays_whole_and_the_rest_goes() {
    let (place, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    let mut taken = Vec::new();
    for number in 1..=6 {
        count_one(&place).await;
        add_blob(&place, 100 + number, 3_000).await;
        if number % 2 == 0 {
            let book = place.store.find::<Book>(&format!("book-{}", 200 + number)).await.unwrap().unwrap();
            place.store.commit(Batch::new().delete(&book)).await.unwrap();
        }
        taken.push((take(&repository, &place, &At(i64::from(number) * 1_000)).await.unwrap().id, digest_of(&place).await));
    }
    let before = count(&objects).await;
    let pruned = snapshot::prune(&repository, later(), only(&[&taken[1].0, &taken[3].0])).await.unwrap();
    assert_eq!(pruned.snapshots.len(), 3, "the newest stays too");
    assert!(pruned.objects > 0 && count(&objects).await < before - 3);
    for kept in [1, 3, 5] {
        let target = empty();
        bring(&repository, &target, &Choice::Snapshot(taken[kept].0.clone())).await.unwrap();
        assert_eq!(digest_of(&target).await, taken[kept].1);
    }
    let again = snapshot::prune(&repository, later(), only(&[&taken[1].0, &taken[3].0])).await.unwrap();
    assert_eq!(again, Pruned::default());
}

#[tokio::test]
async fn a_removal_that_dies_anywhere_leaves_the_kept_whole() {
    for writes in 0.. {
        let (place, objects) = (filled().await, objects());
        let whole = repository(&objects).await;
        for number in 1..=3 {
            count_one(&place).await;
            take(&whole, &place, &At(number * 1_000)).await.unwrap();
        }
        let expected = digest_of(&place).await;
        let dying: Arc<dyn ObjectStore> = Dying::after(&objects, writes);
        let pruned = snapshot::prune(&Repository::open(dying, &secret()).await.unwrap(), later(), only(&[])).await;
        let target = empty();
        bring(&whole, &target, &Choice::Newest).await.unwrap();
        assert_eq!(digest_of(&target).await, expected, "after {writes} writes");
        if pruned.is_ok() {
            assert!(writes > 4, "{writes}");
            break;
        }
    }
}

#[tokio::test]
async fn snapshots_are_not_removed_while_one_is_made() {
    let (place, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    take(&repository, &place, &Now).await.unwrap();
    objects.put(&Path::from("marks/create-other"), "".into()).await.unwrap();
    let refused = snapshot::prune(&repository, Now.now(), only(&[])).await;
    assert!(matches!(refused, Err(SnapshotError::Busy(_))), "{refused:?}");
    // Who left it is long gone.
    snapshot::prune(&repository, later(), only(&[])).await.unwrap();
}

#[tokio::test]
async fn nothing_is_removed_that_an_unreadable_snapshot_may_need() {
    let (place, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    let first = take(&repository, &place, &At(1_000)).await.unwrap();
    count_one(&place).await;
    take(&repository, &place, &At(2_000)).await.unwrap();
    objects.put(&Path::from("snapshots").join(first.id.as_str()), "damaged".into()).await.unwrap();
    let pruned = snapshot::prune(&repository, later(), only(&[])).await.unwrap();
    assert_eq!((pruned.objects, pruned.unreadable), (0, vec![first.id]));
}

/// An installation with a journal, of which two commits are shipped: one that adds a blob, and one that deletes it.
async fn journaled(objects: &Arc<dyn ObjectStore>) -> (Repository, Place, JournaledStore) {
    let (repository, inner) = (repository(objects).await, filled().await);
    let store = JournaledStore::new(inner.store.clone(), KINDS.to_vec(), Arc::new(Now), "stream".to_owned());
    (repository, inner, store)
}

fn is_in(objects: &[Path], directory: &str) -> bool {
    objects.iter().any(|path| path.as_ref().starts_with(directory))
}

async fn paths(objects: &Arc<dyn ObjectStore>) -> Vec<Path> {
    objects.list(None).map_ok(|object| object.location).try_collect().await.unwrap()
}

#[tokio::test]
async fn a_journal_that_nothing_needs_goes_after_a_day_and_one_that_leads_to_now_stays() {
    let objects = objects();
    let (repository, inner, store) = journaled(&objects).await;
    let store = Arc::new(store);
    let place = Place { store: store.clone(), ..inner };
    let shipper = Shipper::new(&store, repository.clone(), place.clone());
    let first = take(&repository, &place, &At(1_000)).await.unwrap();
    add_blob(&place, 10, 1_000).await;
    while shipper.ship().await.unwrap() {}
    // It leads to what no snapshot has.
    let pruned = snapshot::prune(&repository, later(), only(&[])).await.unwrap();
    assert_eq!(pruned, Pruned::default());
    let target = empty();
    bring(&repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&target).await, digest_of(&place).await);
    // From now on it leads to moments between the newest two, of which the older stands in for the newest if that is damaged.
    let second = take(&repository, &place, &Now).await.unwrap();
    for now in [Now.now(), later()] {
        assert_eq!(snapshot::prune(&repository, now, only(&[&first.id])).await.unwrap(), Pruned::default());
        assert!(is_in(&paths(&objects).await, "journal/"));
    }
    let path = Path::from("snapshots").join(second.id.as_str());
    let whole = objects.get(&path).await.unwrap().bytes().await.unwrap();
    objects.put(&path, "damaged".into()).await.unwrap();
    let target = empty();
    let restored = bring(&repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(restored.passed_over.len(), 1, "{restored:?}");
    assert_eq!(digest_of(&target).await, digest_of(&place).await);
    objects.put(&path, whole.into()).await.unwrap();
    // And once there is a third, to moments that nobody needs any more.
    tick().await;
    take(&repository, &place, &Now).await.unwrap();
    snapshot::prune(&repository, later(), only(&[&first.id, &second.id])).await.unwrap();
    assert!(!is_in(&paths(&objects).await, "journal/"));
    let restored = bring(&repository, &empty(), &Choice::At(Timestamp::from_millis(2_000))).await.unwrap();
    assert!(restored.journal_cut.is_some(), "that it is gone is told: {restored:?}");
    let target = empty();
    bring(&repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&target).await, digest_of(&place).await);
}

#[tokio::test]
async fn what_a_segment_tells_of_stays_though_the_segment_cannot_be_read() {
    let objects = objects();
    let (repository, inner, store) = journaled(&objects).await;
    let store = Arc::new(store);
    let place = Place { store: store.clone(), ..inner };
    let shipper = Shipper::new(&store, repository.clone(), place.clone());
    take(&repository, &place, &At(1_000)).await.unwrap();
    for number in [10, 11] {
        add_blob(&place, number, 1_000).await;
        while shipper.ship().await.unwrap() {}
    }
    let segments: Vec<_> = paths(&objects).await.into_iter().filter(|path| path.as_ref().starts_with("journal/")).collect();
    objects.put(&segments[1], "damaged".into()).await.unwrap();
    assert_eq!(snapshot::prune(&repository, later(), only(&[])).await.unwrap(), Pruned::default());
    let target = empty();
    let restored = bring(&repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(restored.commits, 1);
    assert!(target.store.find::<Blob>("blob-10").await.unwrap().is_some());
}

#[tokio::test]
async fn an_unreadable_part_keeps_the_objects_that_it_may_name_and_nothing_else() {
    let (place, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    let first = take(&repository, &place, &At(1_000)).await.unwrap();
    count_one(&place).await;
    add_blob(&place, 10, 1_000).await;
    let second = take(&repository, &place, &At(2_000)).await.unwrap();
    let part = second.parts.iter().find(|part| part.kind == "blobs" && first.parts.iter().all(|old| old.chunk.sha256 != part.chunk.sha256));
    let damaged = format!("records/{}/{}", &part.unwrap().chunk.sha256[..2], part.unwrap().chunk.sha256);
    let good = objects.get(&Path::from(damaged.as_str())).await.unwrap().bytes().await.unwrap();
    objects.put(&Path::from(damaged.as_str()), "damaged".into()).await.unwrap();
    let pruned = snapshot::prune(&repository, later(), only(&[])).await.unwrap();
    assert!(pruned.objects > 0 && pruned.unreadable == [second.id], "{pruned:?}");
    // The next snapshot writes it again.
    take(&repository, &place, &At(3_000)).await.unwrap();
    assert_eq!(objects.get(&Path::from(damaged.as_str())).await.unwrap().bytes().await.unwrap(), good);
    assert_eq!(snapshot::prune(&repository, later(), only(&[])).await.unwrap().unreadable, [""; 0]);
}
