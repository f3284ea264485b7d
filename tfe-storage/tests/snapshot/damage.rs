//! A thousand ways in which a repository may be damaged: none is unnoticed, and none is restored wrongly.

use std::{collections::BTreeMap, sync::Arc};

use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};
use tfe_storage::{
    MemoryVault,
    migrate::{Digest, Place},
    snapshot::{self, Choice, JournaledStore, Repository, RepositorySecret, Shipper, SnapshotError},
};

use crate::places::{At, KINDS, Now, add_blob, bring, count_one, digest_of, empty, filled, objects, repository, take};

const TRIALS: u64 = 1_000;

type Content = BTreeMap<Path, Vec<u8>>;

/// Small and repeatable chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound as u64).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "the figures are the point")]
async fn no_damage_is_unnoticed_or_restored() {
    let (inner, source) = (filled().await, objects());
    let store = Arc::new(JournaledStore::new(inner.store.clone(), KINDS.to_vec(), Arc::new(Now), "stream".to_owned()));
    let place = Place { store: store.clone(), ..inner };
    // A password takes its time on purpose, a thousand times.
    let secret = RepositorySecret::Vault(Arc::new(MemoryVault::new().unwrap()));
    let opened = Repository::open_or_create(source.clone(), &secret).await.unwrap();
    let shipper = Shipper::new(&store, opened.clone(), place.clone());
    take(&opened, &place, &At(1_000)).await.unwrap();
    let mut moments = vec![digest_of(&place).await];
    for number in 0..4 {
        count_one(&place).await;
        moments.push(digest_of(&place).await);
        add_blob(&place, 20 + number, 5_000).await;
        moments.push(digest_of(&place).await);
        match number {
            // The first segment begins before the newer snapshot and ends after it.
            0 => drop(take(&opened, &place, &At(2_000)).await.unwrap()),
            _ => while shipper.ship().await.unwrap() {},
        }
    }
    let whole = content(&source).await;
    let (mut passed_over, mut refused) = (0, 0);
    for trial in 0..TRIALS {
        let mut dice = Dice(trial);
        let mut damaged = whole.clone();
        let (what, objects) = damage(&mut damaged, &mut dice);
        match outcome(&damaged, &secret, &moments).await {
            Outcome::PassedOver => passed_over += 1,
            Outcome::Refused => refused += 1,
            Outcome::Unharmed => {
                // The older manifest is no part of the newer snapshot, and its own parts may be unused too.
                // Without the note of the journal's end nothing is lost, but only a second loss would be.
                let is_note = |object: &Path| object.as_ref().starts_with("tips/") && what.ends_with(" removed");
                let is_harmless = objects.iter().all(|object| !belongs_to_newest(object, &whole) || is_note(object));
                assert!(is_harmless, "{what} was not noticed");
            }
            Outcome::Wrong(text) => panic!("trial {trial}: {what}: {text}"),
        }
    }
    eprintln!(
        "{TRIALS} trials: {passed_over} restored a whole point and said what is damaged, {refused} were refused, 0 restored wrongly, 0 unnoticed"
    );
    assert!(passed_over > 0 && refused > 0);
}

enum Outcome {
    Unharmed,
    PassedOver,
    Refused,
    Wrong(String),
}

async fn outcome(content: &Content, secret: &RepositorySecret, moments: &[Digest]) -> Outcome {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    for (path, bytes) in content {
        objects.put(path, bytes.clone().into()).await.unwrap();
    }
    let repository = match Repository::open(objects, secret).await {
        Ok(repository) => repository,
        Err(SnapshotError::Damaged(_) | SnapshotError::Secret(_) | SnapshotError::NoRepository | SnapshotError::Format(_)) => {
            return Outcome::Refused;
        }
        Err(error) => return Outcome::Wrong(error.to_string()),
    };
    let verified = snapshot::verify(&repository, &empty(), KINDS, &Choice::Newest, &mut |_, _| {}).await;
    let is_verified = verified.is_ok_and(|verified| verified.journal_cut.is_none());
    let target = empty();
    let restored = match bring(&repository, &target, &Choice::Newest).await {
        Ok(restored) => restored,
        Err(SnapshotError::Damaged(_)) if !is_verified => return Outcome::Refused,
        Err(error) => return Outcome::Wrong(format!("{error}, verified: {is_verified}")),
    };
    let digest = digest_of(&target).await;
    match (restored.passed_over.is_empty() && restored.journal_cut.is_none(), is_verified) {
        (true, true) if moments.last() == Some(&digest) => Outcome::Unharmed,
        // That the note of the newest is damaged harms nothing, and is seen.
        (false, false) if moments.contains(&digest) => Outcome::PassedOver,
        _ => Outcome::Wrong(format!("{restored:?}, verified: {is_verified}")),
    }
}

/// Changes something and says what.
fn damage(content: &mut Content, dice: &mut Dice) -> (String, Vec<Path>) {
    let paths: Vec<Path> = content.keys().cloned().collect();
    let path = paths[dice.below(paths.len())].clone();
    let other = paths[dice.below(paths.len())].clone();
    if dice.below(5) == 0 && content[&path] != content[&other] {
        let (one, two) = (content[&path].clone(), content[&other].clone());
        content.insert(path.clone(), two);
        content.insert(other.clone(), one);
        return (format!("{path} and {other} swapped"), vec![path, other]);
    }
    let bytes = content.get_mut(&path).unwrap();
    match dice.below(4) {
        0 => {
            let at = dice.below(bytes.len());
            bytes[at] ^= 1 << dice.below(8);
            (format!("a bit at {at} of {path}"), vec![path])
        }
        1 => {
            bytes.truncate(dice.below(bytes.len()));
            (format!("{path} cut to {}", bytes.len()), vec![path])
        }
        2 => {
            content.remove(&path);
            (format!("{path} removed"), vec![path])
        }
        _ => {
            bytes.push(u8::try_from(dice.below(256)).unwrap());
            (format!("a byte more in {path}"), vec![path])
        }
    }
}

/// Whether the newest snapshot needs the object: all do but the manifest of the older one, and parts that changed since.
fn belongs_to_newest(path: &Path, whole: &Content) -> bool {
    let manifests: Vec<_> = whole.keys().filter(|path| path.as_ref().starts_with("snapshots/")).collect();
    let is_record = path.as_ref().starts_with("records/");
    path != manifests[0] && !is_record
}

#[tokio::test]
async fn what_is_found_damaged_is_written_again() {
    let (place, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    let taken = take(&repository, &place, &At(1_000)).await.unwrap();
    let whole = content(&objects).await;
    let verify = async || snapshot::verify(&repository, &empty(), KINDS, &Choice::Newest, &mut |_, _| {}).await;
    let is_object = |path: &&Path| path.as_ref().starts_with("records/") || path.as_ref().starts_with("blobs/");
    for (number, path) in (2..).zip(whole.keys().filter(is_object)) {
        let mut bytes = whole[path].clone();
        *bytes.last_mut().unwrap() ^= 1;
        objects.put(path, bytes.into()).await.unwrap();
        let found = verify().await.unwrap_err().to_string();
        assert!(found.contains(path.as_ref()), "{found}");
        take(&repository, &place, &At(number * 1_000)).await.unwrap();
        verify().await.unwrap();
        // So is every older snapshot that needs it.
        bring(&repository, &empty(), &Choice::Snapshot(taken.id.clone())).await.unwrap();
    }
    assert!(!content(&objects).await.contains_key(&Path::from("damaged")), "nothing is left to do");
}

#[tokio::test]
async fn damage_is_named() {
    let (place, objects) = (filled().await, objects());
    let repository = repository(&objects).await;
    take(&repository, &place, &At(1_000)).await.unwrap();
    let path = Path::from("blobs/-2/blob-2");
    objects.delete(&path).await.unwrap();
    let error = bring(&repository, &empty(), &Choice::Newest).await.unwrap_err().to_string();
    assert!(error.contains("blobs/-2/blob-2") && error.contains("shelves of-2"), "{error}");
    // One of them is the configuration: which comes first is chance.
    for record in content(&objects).await.into_keys().filter(|path| path.as_ref().starts_with("records/")) {
        let bytes = objects.get(&record).await.unwrap().bytes().await.unwrap();
        objects.delete(&record).await.unwrap();
        let error = bring(&repository, &empty(), &Choice::Newest).await.unwrap_err().to_string();
        assert!(error.contains(record.as_ref()), "{error}");
        objects.put(&record, bytes.into()).await.unwrap();
    }
}

async fn content(objects: &Arc<dyn ObjectStore>) -> Content {
    let mut content = Content::new();
    for object in objects.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let bytes = objects.get(&object.location).await.unwrap().bytes().await.unwrap();
        content.insert(object.location, bytes.to_vec());
    }
    content
}
