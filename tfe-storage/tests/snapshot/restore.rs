//! Restoring snapshots.

use std::sync::Arc;

use tfe_core::{installation::Installation, time::Timestamp};
use tfe_storage::{
    MemoryVault, StoreExt,
    migrate::Place,
    open_objects, open_store,
    snapshot::{self, Choice, SnapshotError},
};

use crate::places::{At, KINDS, Now, bring, count_one, digest_of, empty, filled, objects, repository, take};

#[tokio::test]
async fn everything_comes_back_sealed_by_another_vault() {
    let (place, objects) = (filled().await, objects());
    let expected = digest_of(&place).await;
    let taken = take(&repository(&objects).await, &place, &Now).await.unwrap();
    drop(place);
    let target = empty();
    let restored = bring(&repository(&objects).await, &target, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&target).await, expected);
    assert_eq!((restored.snapshot.id, restored.records, restored.blobs), (taken.id, expected.count(), 4));
    assert_eq!(restored.configuration.as_deref(), Some(&b"mode = \"demo\""[..]));
    let installation = target.store.find::<Installation>("installation-this").await.unwrap().unwrap();
    let key = target.vault.open(&Installation::SIGNING_KEY.context(&installation.id), &installation.signing_key).await.unwrap();
    assert_eq!((key.as_slice(), installation.unfinished), (&b"signing key"[..], false));
}

#[tokio::test]
async fn a_real_database_and_directory_take_part_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("file://{}", directory.path().join(name).display());
    let snapshots = open_objects(&url("snapshots"), &[]).unwrap();
    let place = filled().await;
    take(&repository(&snapshots).await, &place, &Now).await.unwrap();
    let store = open_store(&format!("sqlite:{}", directory.path().join("records").display()), KINDS).await.unwrap();
    let target = Place { store, objects: open_objects(&url("blobs"), &[]).unwrap(), vault: Arc::new(MemoryVault::new().unwrap()) };
    bring(&repository(&snapshots).await, &target, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&target).await, digest_of(&place).await);
    count_one(&target).await;
    take(&repository(&snapshots).await, &target, &Now).await.unwrap();
    let again = empty();
    bring(&repository(&snapshots).await, &again, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&again).await, digest_of(&target).await);
}

#[tokio::test]
async fn the_moment_can_be_chosen() {
    let (place, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    let mut taken = Vec::new();
    for hour in 1..=3 {
        count_one(&place).await;
        taken.push((take(&repository, &place, &At(hour * 3_600_000)).await.unwrap().id, digest_of(&place).await));
    }
    for (choice, expected) in [
        (Choice::Newest, 2),
        (Choice::At(Timestamp::from_millis(7_300_000)), 1),
        (Choice::At(Timestamp::from_millis(3_600_000)), 0),
        (Choice::Snapshot(taken[0].0.clone()), 0),
    ] {
        let target = empty();
        bring(&repository, &target, &choice).await.unwrap();
        assert_eq!(digest_of(&target).await, taken[expected].1, "{choice:?}");
    }
    for choice in [Choice::At(Timestamp::from_millis(1)), Choice::Snapshot("2026".to_owned())] {
        let refused = bring(&repository, &empty(), &choice).await;
        assert!(matches!(refused, Err(SnapshotError::NoSnapshot(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn an_installation_is_never_overwritten() {
    let (place, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    take(&repository, &place, &Now).await.unwrap();
    count_one(&place).await;
    let before = digest_of(&place).await;
    let refused = bring(&repository, &place, &Choice::Newest).await;
    assert!(matches!(refused, Err(SnapshotError::Occupied)), "{refused:?}");
    assert_eq!(digest_of(&place).await, before);
}

#[tokio::test]
async fn a_restore_that_is_stopped_anywhere_goes_on() {
    let (place, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    take(&repository, &place, &Now).await.unwrap();
    let expected = digest_of(&place).await;
    let target = empty();
    for stop in 0..20 {
        let (stopped, stopping) = tokio::sync::oneshot::channel();
        let (mut stopped, mut calls) = (Some(stopped), 0);
        let mut progress = |_, _| {
            calls += 1;
            if calls > stop
                && let Some(stopped) = stopped.take()
            {
                let _ = stopped.send(());
            }
        };
        tokio::select! {
            biased;
            _ = stopping => {}
            restored = snapshot::restore(&repository, &target, KINDS, &Choice::Newest, &mut progress) => {
                restored.unwrap();
            }
        }
    }
    bring(&repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&target).await, expected);
}
