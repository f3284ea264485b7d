//! Installations to take snapshots of.

use std::sync::Arc;

use object_store::{ObjectStore, memory::InMemory};
use tfe_core::{
    blob::{BLOBS, Blob},
    id::Id,
    installation::{INSTALLATIONS, Installation},
    record::Kind,
    secret::Secret,
    time::{Clock, Timestamp},
};
use tfe_storage::{
    Batch, Blobs, MemoryStore, MemoryVault, StoreExt,
    migrate::{Digest, Place, digest},
    snapshot::{self, Choice, CreateOptions, Manifest, Repository, RepositorySecret, Restored, SnapshotError},
    testing::kinds::{BOOKS, Book, SHELVES, Shelf, book, shelf},
};

/// The referring kind before what it refers to: the order must not matter.
pub(crate) const KINDS: &[&Kind] = &[&INSTALLATIONS, &BOOKS, &SHELVES, &BLOBS];
pub(crate) const PASSWORD: &str = "correct horse";

/// A clock that stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At(pub(crate) i64);

impl Clock for At {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0)
    }
}

/// The time of a machine.
#[derive(Debug)]
pub(crate) struct Now;

impl Clock for Now {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    }
}

pub(crate) fn objects() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

pub(crate) fn empty() -> Place {
    Place { store: Arc::new(MemoryStore::new()), objects: objects(), vault: Arc::new(MemoryVault::new().unwrap()) }
}

/// One with a few hundred records and blobs of some sizes.
pub(crate) async fn filled() -> Place {
    fill(empty()).await
}

pub(crate) async fn fill(place: Place) -> Place {
    let id = Installation::only_id();
    let signing_key = place.vault.seal(&Installation::SIGNING_KEY.context(&id), b"signing key").await.unwrap();
    let installation =
        Installation { id, created_at: Timestamp::default(), name: "this".to_owned(), signing_key, unfinished: false, restoration: None };
    let mut batch = Batch::new().insert(&installation).insert(&shelf("a"));
    // The first book by its id continues the last.
    let sequel = Book { sequel_of: Some("book-999".into()), ..book("book-000", "a") };
    batch = batch.insert(&book("book-999", "a")).insert(&sequel);
    for number in 100..400 {
        batch = batch.insert(&book(&format!("book-{number}"), "a"));
    }
    place.store.commit(batch).await.unwrap();
    for (number, length) in [(1, 10), (2, 200_000), (3, 0), (4, 70_000)] {
        add_blob(&place, number, length).await;
    }
    place
}

/// A blob, and a shelf that refers to it.
pub(crate) async fn add_blob(place: &Place, number: u32, length: usize) {
    let id = Id::<Blob>::from(format!("blob-{number}").as_str());
    let blobs = Blobs::new(place.objects.clone(), place.vault.clone());
    let blob = blobs.put_bytes(id.clone(), Timestamp::default(), vec![7; length]).await.unwrap();
    let user = Shelf { notes: serde_json::json!({ "content": id }), ..shelf(&format!("of-{number}")) };
    place.store.commit(Batch::new().insert(&blob).insert(&user)).await.unwrap();
}

pub(crate) async fn count_one(place: &Place) {
    let shelf = place.store.find::<Shelf>("a").await.unwrap().unwrap();
    place.store.commit(Batch::new().update(&shelf, Shelf { count: shelf.count + 1, ..shelf.record.clone() })).await.unwrap();
}

pub(crate) fn secret() -> RepositorySecret {
    RepositorySecret::Password(Secret::from(PASSWORD))
}

pub(crate) async fn repository(objects: &Arc<dyn ObjectStore>) -> Repository {
    Repository::open_or_create(objects.clone(), &secret()).await.unwrap()
}

pub(crate) async fn take(repository: &Repository, place: &Place, clock: &dyn Clock) -> Result<Manifest, SnapshotError> {
    take_if(repository, place, clock, false).await
}

pub(crate) async fn take_if(
    repository: &Repository,
    place: &Place,
    clock: &dyn Clock,
    takes_over: bool,
) -> Result<Manifest, SnapshotError> {
    let options = CreateOptions { clock, program: "test", configuration: Some(b"mode = \"demo\""), takes_over };
    snapshot::create(repository, place, KINDS, &options, &mut |_, _| {}).await
}

/// Restores and finishes.
pub(crate) async fn bring(repository: &Repository, place: &Place, choice: &Choice) -> Result<Restored, SnapshotError> {
    let restored = snapshot::restore(repository, place, KINDS, choice, &mut |_, _| {}).await?;
    snapshot::finish(place).await?;
    Ok(restored)
}

pub(crate) async fn digest_of(place: &Place) -> Digest {
    digest(place, KINDS, &mut |_, _| {}).await.unwrap()
}

/// Waits until the clock has moved on.
pub(crate) async fn tick() {
    let before = Now.now();
    while Now.now() == before {
        tokio::task::yield_now().await;
    }
}
