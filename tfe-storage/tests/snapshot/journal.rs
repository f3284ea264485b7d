//! What was committed after a snapshot.

use std::{collections::HashSet, sync::Arc};

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tfe_core::{
    blob::Blob,
    id::Id,
    time::{Clock, Timestamp},
};
use tfe_storage::{
    Batch, Blobs, MemoryStore, StoreExt,
    migrate::Place,
    snapshot::{self, Choice, JournaledStore, Owner, Shipper},
    testing::{
        faulty::{Fault, Faulty},
        kinds::Shelf,
    },
};

use crate::places::{KINDS, Now, add_blob, bring, count_one, digest_of, empty, fill, filled, objects, repository, take, tick};

/// An installation whose commits are noted.
struct Journaled {
    place: Place,
    store: Arc<JournaledStore>,
    repository: tfe_storage::snapshot::Repository,
    shipper: Shipper,
    objects: Arc<dyn ObjectStore>,
}

impl Journaled {
    async fn start() -> Self {
        Self::with(filled().await).await
    }

    async fn with(inner: Place) -> Self {
        Self::in_repository(inner, objects()).await
    }

    async fn in_repository(inner: Place, objects: Arc<dyn ObjectStore>) -> Self {
        let repository = repository(&objects).await;
        let store = Arc::new(JournaledStore::new(inner.store.clone(), KINDS.to_vec(), Arc::new(Now), "stream".to_owned()));
        let place = Place { store: store.clone(), ..inner };
        let shipper = Shipper::new(&store, repository.clone(), place.clone());
        Self { place, store, repository, shipper, objects }
    }

    async fn take(&self) {
        let taken = take(&self.repository, &self.place, &Now).await.unwrap();
        self.store.covered(&taken.journal.unwrap());
    }

    async fn ship(&self) {
        while self.shipper.ship().await.unwrap() {}
    }

    async fn segments(&self) -> Vec<Path> {
        let mut found: Vec<_> = self.objects.list(Some(&Path::from("journal"))).try_collect().await.unwrap();
        found.sort_by(|one, other| one.location.cmp(&other.location));
        found.into_iter().map(|object| object.location).collect()
    }
}

async fn shelf_a(journaled: &Journaled) -> tfe_storage::Versioned<Shelf> {
    journaled.place.store.find::<Shelf>("a").await.unwrap().unwrap()
}

#[tokio::test]
async fn what_was_shipped_is_restored() {
    let journaled = Journaled::start().await;
    assert!(journaled.store.health().needs_snapshot);
    count_one(&journaled.place).await;
    journaled.take().await;
    assert!(!journaled.store.health().needs_snapshot);
    for number in 10..20 {
        count_one(&journaled.place).await;
        add_blob(&journaled.place, number, 80_000).await;
        if number % 3 == 0 {
            journaled.ship().await;
        }
    }
    let gone = journaled.place.store.find::<Shelf>("of-11").await.unwrap().unwrap();
    journaled.place.store.commit(Batch::new().delete(&gone)).await.unwrap();
    assert!(journaled.store.health().behind_since.is_some());
    journaled.ship().await;
    assert_eq!(journaled.store.health().behind_since, None);
    let target = empty();
    let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&target).await, digest_of(&journaled.place).await);
    assert_eq!((restored.commits, restored.journal_cut), (21, None));
}

#[tokio::test]
async fn a_journal_leads_to_any_moment_of_it() {
    let journaled = Journaled::start().await;
    journaled.take().await;
    let mut moments = Vec::new();
    for _ in 0..5 {
        count_one(&journaled.place).await;
        moments.push((Now.now(), digest_of(&journaled.place).await));
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    journaled.ship().await;
    for (time, expected) in moments {
        let target = empty();
        bring(&journaled.repository, &target, &Choice::At(time)).await.unwrap();
        assert_eq!(digest_of(&target).await, expected);
    }
}

#[tokio::test]
async fn a_snapshot_taken_between_commits_and_shipping_loses_and_doubles_nothing() {
    let journaled = Journaled::start().await;
    journaled.take().await;
    count_one(&journaled.place).await;
    journaled.take().await;
    count_one(&journaled.place).await;
    journaled.ship().await;
    let target = empty();
    let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(restored.commits, 1);
    assert_eq!(digest_of(&target).await, digest_of(&journaled.place).await);
}

#[tokio::test]
async fn a_commit_whose_caller_goes_away_is_noted() {
    let journaled = Journaled::start().await;
    journaled.take().await;
    let shelf = tfe_storage::testing::kinds::shelf("abandoned");
    {
        let commit = journaled.place.store.commit(Batch::new().insert(&shelf));
        let mut commit = std::pin::pin!(commit);
        assert!(futures::poll!(&mut commit).is_pending());
    }
    while journaled.place.store.find::<Shelf>("abandoned").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    journaled.ship().await;
    assert!(!journaled.store.health().needs_snapshot);
    let target = empty();
    bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&target).await, digest_of(&journaled.place).await);
}

#[tokio::test]
async fn what_is_damaged_ends_the_journal_and_what_came_before_counts() {
    let journaled = Journaled::start().await;
    journaled.take().await;
    let mut reached = Vec::new();
    for _ in 0..4 {
        reached.push(digest_of(&journaled.place).await);
        count_one(&journaled.place).await;
        journaled.ship().await;
    }
    let third = journaled.segments().await[2].clone();
    let mut bytes = journaled.objects.get(&third).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[40] ^= 1;
    journaled.objects.put(&third, bytes.into()).await.unwrap();
    let check = async |why: &str| {
        let target = empty();
        let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
        assert_eq!(restored.commits, 2);
        assert!(restored.journal_cut.as_deref().is_some_and(|cut| cut.contains(why)), "{restored:?}");
        assert_eq!(digest_of(&target).await, reached[2]);
    };
    check(third.as_ref()).await;
    journaled.objects.delete(&third).await.unwrap();
    check("the commits 2 to 2 are not in the repository").await;
}

/// Replaces a blob by another one, as an apply does with its states, and removes the object.
async fn replace_blob(journaled: &Journaled, old: u32, new: u32) {
    let blobs = Blobs::new(journaled.place.objects.clone(), journaled.place.vault.clone());
    let id = Id::<Blob>::from(format!("blob-{new}").as_str());
    let blob = blobs.put_bytes(id.clone(), Timestamp::default(), vec![9; 1_000]).await.unwrap();
    let replaced = journaled.place.store.find::<Blob>(&format!("blob-{old}")).await.unwrap().unwrap();
    let shelf = shelf_a(journaled).await;
    let user = Shelf { notes: serde_json::json!({ "content": id }), ..shelf.record.clone() };
    let batch = Batch::new().insert(&blob).update(&shelf, user).delete(&replaced);
    journaled.place.store.commit(batch).await.unwrap();
    blobs.delete(&replaced.record.id).await.unwrap();
}

#[tokio::test]
async fn a_blob_that_was_replaced_before_it_was_shipped_ends_nothing() {
    let journaled = Journaled::start().await;
    journaled.take().await;
    add_blob(&journaled.place, 10, 1_000).await;
    for number in 11..15 {
        replace_blob(&journaled, number - 1, number).await;
    }
    count_one(&journaled.place).await;
    journaled.ship().await;
    let target = empty();
    let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!((restored.commits, restored.journal_cut), (6, None));
    assert_eq!(digest_of(&target).await, digest_of(&journaled.place).await);
}

#[tokio::test]
async fn a_lost_object_ends_the_journal_before_the_first_commit_that_needs_it() {
    let journaled = Journaled::start().await;
    journaled.take().await;
    count_one(&journaled.place).await;
    let expected = digest_of(&journaled.place).await;
    add_blob(&journaled.place, 10, 1_000).await;
    count_one(&journaled.place).await;
    journaled.ship().await;
    journaled.objects.delete(&Path::from("blobs/10/blob-10")).await.unwrap();
    let target = empty();
    let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(restored.commits, 1);
    assert!(restored.journal_cut.as_deref().is_some_and(|cut| cut.contains("blobs/10/blob-10")), "{restored:?}");
    assert_eq!(digest_of(&target).await, expected);
    // Once it is deleted it is needed no more.
    let (user, blob) = (
        journaled.place.store.find::<Shelf>("of-10").await.unwrap().unwrap(),
        journaled.place.store.find::<Blob>("blob-10").await.unwrap().unwrap(),
    );
    journaled.place.store.commit(Batch::new().delete(&user).delete(&blob)).await.unwrap();
    journaled.ship().await;
    let target = empty();
    let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!((restored.commits, restored.journal_cut), (4, None));
    assert_eq!(digest_of(&target).await, digest_of(&journaled.place).await);
}

#[tokio::test]
async fn segments_that_hold_each_other_and_come_in_any_order_are_applied_once() {
    let nameless = objects();
    let unsure = crate::dying::Dying::after(&nameless, i64::MAX);
    let journaled = Journaled::in_repository(filled().await, unsure.clone()).await;
    journaled.take().await;
    count_one(&journaled.place).await;
    unsure.lose_answer();
    journaled.shipper.ship().await.unwrap_err();
    count_one(&journaled.place).await;
    let added = tfe_storage::testing::kinds::shelf("added");
    journaled.place.store.commit(Batch::new().insert(&added)).await.unwrap();
    journaled.ship().await;
    assert_eq!(journaled.segments().await.len(), 2);
    let target = empty();
    let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!((restored.commits, restored.journal_cut), (3, None));
    assert_eq!(digest_of(&target).await, digest_of(&journaled.place).await);
}

#[tokio::test]
async fn a_commit_that_does_not_fit_ends_the_journal_and_what_came_before_counts() {
    let inner = filled().await;
    let journaled = Journaled::with(inner.clone()).await;
    journaled.take().await;
    // Another process did this, and its journal is not that of this one.
    inner.store.commit(Batch::new().insert(&tfe_storage::testing::kinds::shelf("unseen"))).await.unwrap();
    count_one(&journaled.place).await;
    let on_it = tfe_storage::testing::kinds::book("book-on-it", "unseen");
    let (gone, count) =
        (journaled.place.store.find::<Shelf>("of-1").await.unwrap().unwrap(), Shelf { count: 9, ..shelf_a(&journaled).await.record });
    let half = Batch::new().delete(&gone).update(&shelf_a(&journaled).await, count).insert(&on_it);
    journaled.place.store.commit(half).await.unwrap();
    count_one(&journaled.place).await;
    journaled.ship().await;
    let target = empty();
    let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(restored.commits, 1);
    assert!(restored.journal_cut.as_deref().is_some_and(|cut| cut.contains("books")), "{restored:?}");
    assert!(target.store.find::<Shelf>("of-1").await.unwrap().is_some(), "nothing of the commit happens");
    assert_eq!(target.store.find::<Shelf>("a").await.unwrap().unwrap().record.count, 1);
}

#[tokio::test]
async fn a_commit_of_which_nobody_knows_asks_for_a_snapshot() {
    let inner = Arc::new(Faulty::new(MemoryStore::new()));
    let journaled = Journaled::with(fill(Place { store: inner.clone(), ..empty() }).await).await;
    add_blob(&journaled.place, 21, 10).await;
    journaled.take().await;
    inner.fail_next(Fault::Unanswered);
    let shelf = tfe_storage::testing::kinds::shelf("doubtful");
    journaled.place.store.commit(Batch::new().insert(&shelf)).await.unwrap_err();
    let health = journaled.store.health();
    assert!(health.needs_snapshot && health.behind_since.is_some_and(|since| since > Timestamp::default()));
    add_blob(&journaled.place, 22, 10).await;
    journaled.ship().await;
    let target = empty();
    let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert!(restored.journal_cut.is_some(), "the doubtful commit is a gap: {restored:?}");
    journaled.take().await;
    assert!(!journaled.store.health().needs_snapshot);
    let target = empty();
    bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert!(target.store.find::<Shelf>("doubtful").await.unwrap().is_some());
    assert!(target.store.find::<Shelf>("of-22").await.unwrap().is_some());
}

/// A snapshot, a commit, a snapshot that somebody took by hand beside the server, and two commits.
async fn by_hand() -> (Journaled, String) {
    let inner = filled().await;
    let journaled = Journaled::with(inner.clone()).await;
    journaled.take().await;
    tick().await;
    count_one(&journaled.place).await;
    journaled.ship().await;
    tick().await;
    let taken = take(&journaled.repository, &inner, &Now).await.unwrap();
    assert_eq!(taken.journal, None);
    tick().await;
    count_one(&journaled.place).await;
    count_one(&journaled.place).await;
    journaled.ship().await;
    (journaled, taken.id)
}

#[tokio::test]
async fn a_snapshot_by_hand_does_not_hide_the_journal() {
    let (journaled, _) = by_hand().await;
    for choice in [Choice::Newest, Choice::At(Now.now())] {
        let target = empty();
        let restored = bring(&journaled.repository, &target, &choice).await.unwrap();
        assert_eq!(digest_of(&target).await, digest_of(&journaled.place).await, "{choice:?}");
        assert_eq!((restored.commits, restored.passed_over, restored.journal_cut), (3, Vec::new(), None));
    }
    let owner = Owner::of(&*journaled.place.store).await.unwrap();
    let own = journaled.repository.newest_of(&owner, true).await.unwrap().unwrap();
    assert!(own.journal.is_some(), "it is not the schedule's");
    // Nor is what it leads on from removed, though another one is newer.
    snapshot::prune(&journaled.repository, Now.now(), |_| HashSet::new()).await.unwrap();
    let target = empty();
    bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(digest_of(&target).await, digest_of(&journaled.place).await);
}

#[tokio::test]
async fn where_the_journal_ends_before_it_a_snapshot_by_hand_counts() {
    let (journaled, taken) = by_hand().await;
    let first = journaled.segments().await[0].clone();
    let mut bytes = journaled.objects.get(&first).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[40] ^= 1;
    journaled.objects.put(&first, bytes.into()).await.unwrap();
    let target = empty();
    let restored = bring(&journaled.repository, &target, &Choice::Newest).await.unwrap();
    assert_eq!(restored.snapshot.id, taken);
    assert!(restored.passed_over[0].1.contains(first.as_ref()), "{restored:?}");
    assert_eq!(target.store.find::<Shelf>("a").await.unwrap().unwrap().record.count, 1);
}

#[tokio::test]
async fn the_loss_of_the_last_segment_is_seen() {
    let journaled = Journaled::start().await;
    journaled.take().await;
    for _ in 0..3 {
        count_one(&journaled.place).await;
        journaled.ship().await;
    }
    journaled.objects.delete(&journaled.segments().await[2]).await.unwrap();
    let restored = bring(&journaled.repository, &empty(), &Choice::Newest).await.unwrap();
    assert_eq!(restored.commits, 2);
    assert!(restored.journal_cut.as_deref().is_some_and(|cut| cut.contains("the commits 2 to 2")), "{restored:?}");
}
