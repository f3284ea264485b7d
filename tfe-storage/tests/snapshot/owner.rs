//! Whose snapshots they are.

use tfe_core::{
    installation::{Installation, Restoration},
    time::{Clock, Timestamp},
};
use tfe_storage::{
    Batch, StoreExt,
    migrate::Place,
    snapshot::{Choice, Owner, Repository, SnapshotError},
};

use crate::places::{Now, bring, count_one, digest_of, empty, filled, objects, repository, take, take_if, tick};

async fn change(place: &Place, change: impl FnOnce(Installation) -> Installation) {
    let found = place.store.find::<Installation>(Installation::only_id().as_str()).await.unwrap().unwrap();
    place.store.commit(Batch::new().update(&found, change(found.record.clone()))).await.unwrap();
}

/// Restores the newest as a server does, which notes it.
async fn second_life(repository: &Repository, at: Timestamp) -> Place {
    let place = empty();
    let restored = bring(repository, &place, &Choice::Newest).await.unwrap();
    let restoration =
        Restoration { at, snapshot: restored.snapshot.id, reached: restored.reached, is_settled: true, applies_paused: false };
    change(&place, |installation| Installation { restoration: Some(restoration), ..installation }).await;
    place
}

fn is_foreign<T: std::fmt::Debug>(taken: Result<T, SnapshotError>, of: &str) {
    assert!(matches!(&taken, Err(SnapshotError::Foreign(id)) if id == of), "{taken:?} instead of {of}");
}

#[tokio::test]
async fn what_is_no_whole_installation_is_not_snapshotted() {
    let objects = objects();
    let repository = repository(&objects).await;
    let refused = take(&repository, &empty(), &Now).await;
    assert!(matches!(refused, Err(SnapshotError::NoInstallation)), "{refused:?}");
    let half = filled().await;
    change(&half, |installation| Installation { unfinished: true, ..installation }).await;
    let refused = take(&repository, &half, &Now).await;
    assert!(matches!(refused, Err(SnapshotError::NoInstallation)), "{refused:?}");
    assert_eq!(repository.ids().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn who_was_restored_takes_over_and_the_one_before_is_refused() {
    let (first, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    take(&repository, &first, &Now).await.unwrap();
    let second = second_life(&repository, Now.now()).await;
    count_one(&second).await;
    tick().await;
    let taken = take(&repository, &second, &Now).await.unwrap();
    is_foreign(take(&repository, &first, &Now).await, &taken.id);
    is_foreign(repository.claim(&Owner::of(&*first.store).await.unwrap()).await, &taken.id);
    let newest = repository.newest_of(&Owner::of(&*first.store).await.unwrap(), false).await.unwrap().unwrap();
    assert_ne!(newest.id, taken.id, "it has its own");
    let target = empty();
    bring(&repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&target).await, digest_of(&second).await);
    // In words it is taken back.
    tick().await;
    let back = take_if(&repository, &first, &Now, true).await.unwrap();
    is_foreign(take(&repository, &second, &Now).await, &back.id);
    take(&repository, &first, &Now).await.unwrap();
}

#[tokio::test]
async fn a_copy_does_not_displace_who_goes_on() {
    let (first, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    take(&repository, &first, &Now).await.unwrap();
    let copy = second_life(&repository, Timestamp::default()).await;
    count_one(&first).await;
    tick().await;
    let taken = take(&repository, &first, &Now).await.unwrap();
    is_foreign(take(&repository, &copy, &Now).await, &taken.id);
    let other = filled().await;
    change(&other, |installation| Installation { name: "other".to_owned(), ..installation }).await;
    is_foreign(take(&repository, &other, &Now).await, &taken.id);
    take(&repository, &first, &Now).await.unwrap();
}
