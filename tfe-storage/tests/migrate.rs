//! An installation moves whole, however often the move is stopped, and its source is only read.

#![cfg(feature = "sqlite")]

use std::sync::Arc;

use object_store::{ObjectStore, memory::InMemory};
use tfe_core::{
    blob::{BLOBS, Blob},
    installation::{INSTALLATIONS, Installation},
    record::Kind,
    time::Timestamp,
};
use tfe_storage::{
    Batch, Blobs, MemoryStore, MemoryVault, StoreExt,
    migrate::{Digest, MigrateError, Place, Stage, digest, migrate},
    open_store, rewrap_page,
    testing::kinds::{BOOKS, Book, SHELVES, Shelf, book, shelf},
};

/// The referring kind before what it refers to: the order must not matter.
const KINDS: &[&Kind] = &[&INSTALLATIONS, &BOOKS, &SHELVES, &BLOBS];
const LARGE: usize = 9 * 1024 * 1024;

#[tokio::test]
async fn everything_arrives_and_both_sides_are_equal() {
    let (source, target) = (filled().await, empty());
    let expected = digest_of(&source).await;
    let moved = migrate(&source, &target, KINDS, &mut |_, _| {}).await.unwrap();
    assert_eq!(moved, expected);
    assert_eq!(digest_of(&target).await, expected);
    let back = empty();
    assert_eq!(migrate(&target, &back, KINDS, &mut |_, _| {}).await.unwrap(), expected);
    let installation = back.store.find::<Installation>("installation-this").await.unwrap().unwrap();
    assert!(!installation.unfinished);
    let key = back.vault.open(&Installation::SIGNING_KEY.context(&installation.id), &installation.signing_key).await.unwrap();
    assert_eq!(key.as_slice(), b"signing key");
}

#[tokio::test]
async fn a_move_that_is_stopped_anywhere_goes_on() {
    let source = filled().await;
    let expected = digest_of(&source).await;
    let target = empty();
    for stop in 0..12 {
        let mut calls = 0;
        let (stopped, stopping) = tokio::sync::oneshot::channel();
        let mut stopped = Some(stopped);
        let mut progress = |_: Stage, _: u64| {
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
            moved = migrate(&source, &target, KINDS, &mut progress) => assert_eq!(moved.unwrap(), expected),
        }
    }
    assert_eq!(migrate(&source, &target, KINDS, &mut |_, _| {}).await.unwrap(), expected);
    assert_eq!(digest_of(&source).await, expected, "the source is only read");
}

#[tokio::test]
async fn a_target_is_unfinished_until_the_end_and_takes_one_installation_only() {
    let (source, target) = (filled().await, empty());
    let missing = source.store.find::<Blob>("blob-1").await.unwrap().unwrap();
    Blobs::new(source.objects.clone(), source.vault.clone()).delete(&missing.id).await.unwrap();
    let result = migrate(&source, &target, KINDS, &mut |_, _| {}).await;
    assert!(matches!(&result, Err(MigrateError::Blob { id, .. }) if id == "blob-1"), "{result:?}");

    let whole = filled().await;
    let other = filled_as("other").await;
    migrate(&whole, &target, KINDS, &mut |_, _| {}).await.unwrap();
    assert!(matches!(migrate(&other, &target, KINDS, &mut |_, _| {}).await, Err(MigrateError::Occupied)));
}

#[tokio::test]
async fn what_the_source_lost_in_between_is_lost_in_the_target_too() {
    let (source, target) = (filled().await, empty());
    migrate(&source, &target, KINDS, &mut |_, _| {}).await.unwrap();
    let book = source.store.find::<Book>("book-3").await.unwrap().unwrap();
    source.store.commit(Batch::new().delete(&book)).await.unwrap();
    let moved = migrate(&source, &target, KINDS, &mut |_, _| {}).await.unwrap();
    assert_eq!(moved.kinds["books"].count, 1, "the book that continued it is gone too");
}

#[tokio::test]
async fn a_digest_sees_every_difference() {
    let changed = filled().await;
    let expected = digest_of(&changed).await;
    assert_eq!(digest_of(&changed).await, expected);
    let shelf_a = changed.store.find::<Shelf>("a").await.unwrap().unwrap();
    let mut next = shelf_a.record.clone();
    next.count += 1;
    changed.store.commit(Batch::new().update(&shelf_a, &next)).await.unwrap();
    assert_eq!(digest_of(&changed).await.difference(&expected).as_deref(), Some("shelves"));
}

#[tokio::test]
async fn everything_is_sealed_anew_after_a_rotation() {
    let place = filled().await;
    let expected = digest_of(&place).await;
    place.vault.rotate().await.unwrap();
    for kind in KINDS {
        let mut after: Option<String> = None;
        loop {
            let step = rewrap_page(&*place.store, &*place.vault, kind, after.as_deref()).await.unwrap();
            assert_eq!(step.changed, if kind.seals.is_empty() { 0 } else { step.seen });
            after = step.last;
            if after.is_none() {
                break;
            }
        }
    }
    let blob = place.store.find::<Blob>("blob-1").await.unwrap().unwrap();
    assert!(blob.wrapped_key.as_str().contains(":v2:"));
    assert_eq!(digest_of(&place).await, expected);
}

#[tokio::test]
async fn a_real_database_and_directory_take_part() {
    let directory = tempfile::tempdir().unwrap();
    let source = filled().await;
    let url = format!("sqlite:{}", directory.path().join("records").display());
    let objects = tfe_storage::open_objects(&format!("file://{}", directory.path().join("blobs").display()), &[]).unwrap();
    let target = Place { store: open_store(&url, KINDS).await.unwrap(), objects, ..empty() };
    let moved = migrate(&source, &target, KINDS, &mut |_, _| {}).await.unwrap();
    assert_eq!(moved, digest_of(&source).await);
    assert_eq!(moved.to_string().len(), 64);
}

fn empty() -> Place {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    Place { store: Arc::new(MemoryStore::new()), objects, vault: Arc::new(MemoryVault::new().unwrap()) }
}

async fn filled() -> Place {
    filled_as("this").await
}

async fn filled_as(name: &str) -> Place {
    let place = empty();
    let id = Installation::only_id();
    let signing_key = place.vault.seal(&Installation::SIGNING_KEY.context(&id), b"signing key").await.unwrap();
    let installation =
        Installation { id, created_at: Timestamp::default(), name: name.to_owned(), signing_key, unfinished: false, restoration: None };
    let blobs = Blobs::new(place.objects.clone(), place.vault.clone());
    let mut batch = Batch::new().insert(&installation).insert(&shelf("a"));
    for (number, length) in [(1, 10), (2, LARGE), (3, 0)] {
        let id = format!("blob-{number}");
        batch = batch.insert(&blobs.put_bytes(id.as_str().into(), Timestamp::default(), vec![7; length]).await.unwrap());
    }
    // The first book by its id continues the last.
    let sequel = Book { sequel_of: Some("book-3".into()), ..book("book-1", "a") };
    batch = batch.insert(&book("book-3", "a")).insert(&book("book-2", "a")).insert(&sequel);
    place.store.commit(batch).await.unwrap();
    place
}

async fn digest_of(place: &Place) -> Digest {
    digest(place, KINDS, &mut |_, _| {}).await.unwrap()
}
