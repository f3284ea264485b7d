//! Snapshots, trials and restores, with all parts in one process.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::json;
use tfe_core::{
    KINDS,
    duty::Duty,
    id::Id,
    installation::{Installation, Restoration},
    organization::Organization,
    record::Kind,
    secret::Secret,
    state::md5_hex,
    state_version::StateVersion,
    time::{Clock, Timestamp},
};
use tfe_server::{
    App, Server, SystemClock,
    configuration::{Configuration, Sources},
    metrics,
    snapshots::{RestoreOnBoot, Restorer, Snapshots, drill, kinds, restore, restore_on_boot},
};
use tfe_storage::{
    Batch, Blobs, MemoryVault, Page, Query, Store, StoreExt, StoredRecord, View,
    migrate::Place,
    open_objects, open_store,
    snapshot::{self, Choice, CreateOptions, Repository, RepositorySecret, SnapshotError},
};
use tokio_util::sync::CancellationToken;

use crate::harness::{PATIENCE, TestServer};

const PASSWORD: &str = "correct horse battery staple";

/// Something that happens before a commit, which is told the number of.
type Before = Box<dyn Fn(u32) -> BoxFuture<'static, ()> + Send + Sync>;

/// A store in front of another one, where something else happens before commits.
struct Interrupted {
    inner: Arc<dyn Store>,
    commits: AtomicU32,
    before: Before,
}

impl Interrupted {
    fn new(inner: Arc<dyn Store>, before: Before) -> Arc<Self> {
        Arc::new(Self { inner, commits: AtomicU32::new(0), before })
    }
}

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupted").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Interrupted {
    async fn get(&self, kind: &'static Kind, id: &str) -> tfe_storage::Result<Option<StoredRecord>> {
        self.inner.get(kind, id).await
    }

    async fn query(&self, query: &Query) -> tfe_storage::Result<Page> {
        self.inner.query(query).await
    }

    async fn commit(&self, batch: Batch) -> tfe_storage::Result<()> {
        (self.before)(self.commits.fetch_add(1, Ordering::SeqCst)).await;
        self.inner.commit(batch).await
    }

    async fn view(&self) -> tfe_storage::Result<Box<dyn View>> {
        self.inner.view().await
    }
}

/// A place where nothing is.
async fn nowhere() -> Place {
    Place {
        store: open_store("memory:", KINDS).await.unwrap(),
        objects: open_objects("memory:", &[]).unwrap(),
        vault: Arc::new(MemoryVault::new().unwrap()),
    }
}

/// A server that works on what is there.
async fn server_on(place: &Place) -> Server {
    let blobs = Blobs::new(place.objects.clone(), place.vault.clone());
    Server::builder().store(place.store.clone()).blobs(blobs).vault(place.vault.clone()).build().await.unwrap()
}

/// A snapshot of an installation, in memory.
async fn snapshot_of(place: &Place) -> Repository {
    let secret = RepositorySecret::Password(Secret::from(PASSWORD));
    let repository = Repository::open_or_create(open_objects("memory:", &[]).unwrap(), &secret).await.unwrap();
    take(&repository, place).await;
    repository
}

async fn take(repository: &Repository, place: &Place) {
    let options = CreateOptions { clock: &SystemClock, program: "test", configuration: None, takes_over: false };
    snapshot::create(repository, place, &kinds(), &options, &mut |_, _| {}).await.unwrap();
}

/// An installation with an organization and a blob that something refers to.
async fn installation() -> (TestServer, Place) {
    let server = TestServer::start_idle().await;
    let workspace = server.workspace("kept").await;
    server.configuration(&workspace, "# nothing", false).await;
    let place = server.place();
    (server, place)
}

/// The configuration of a server whose snapshots are there.
fn configuration(directory: &Path, more: &[(&str, &str)]) -> Configuration {
    let own = [("TFE_BACKUP_URL", directory.to_str().unwrap()), ("TFE_BACKUP_PASSWORD", PASSWORD)];
    let environment = own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = Sources { environment, ..Sources::default() };
    Configuration::read(&sources, &|_| Err(std::io::ErrorKind::NotFound.into())).unwrap()
}

async fn by_hand(repository: &Repository, place: &Place, reuses_objects: bool) -> Result<snapshot::Restored, SnapshotError> {
    restore(repository, place, &Choice::Newest, &Restorer { name: "node", reuses_objects }, &mut |_, _| {}).await
}

async fn at_boot(configuration: &Configuration, place: &Place) -> Result<RestoreOnBoot, SnapshotError> {
    restore_on_boot(&configuration.snapshots, place, "node", &mut |_, _| {}).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_looks_at_states_that_came_and_not_at_what_was_announced() {
    let (server, place) = installation().await;
    let workspace = server.workspace("states").await;
    server.post(&format!("/api/v2/workspaces/{workspace}/actions/lock"), json!({})).await.expect(200);
    let content = json!({ "version": 4, "terraform_version": "1.11.4", "serial": 1, "lineage": "line", "outputs": {}, "resources": [] });
    let content = content.to_string();
    let attributes = json!({ "serial": 1, "md5": md5_hex(content.as_bytes()), "lineage": "line" });
    let announce = async || {
        let body = json!({ "data": { "type": "state-versions", "attributes": attributes } });
        server.post(&format!("/api/v2/workspaces/{workspace}/state-versions"), body).await.expect(201)
    };
    // The answer to the first was lost.
    let (first, second) = (announce().await, announce().await);
    assert_ne!(first.id(), second.id());
    server.put(&second.text_at("/data/attributes/hosted-state-upload-url"), content.into_bytes()).await.expect(200);
    let repository = snapshot_of(&place).await;
    assert_eq!(drill(&repository, &Choice::Newest, &mut |_, _| {}).await.unwrap().states, 1);
    let stored = server.app.store.find::<StateVersion>(&second.id()).await.unwrap().unwrap().into_record();
    let doubled = StateVersion { id: Id::from("sv-doubled"), created_at: server.app.now(), content: None, md5: md5_hex(b"else"), ..stored };
    server.app.store.commit(Batch::new().insert(&doubled)).await.unwrap();
    take(&repository, &place).await;
    let found = drill(&repository, &Choice::Newest, &mut |_, _| {}).await.unwrap_err().to_string();
    assert!(found.contains("sv-doubled"), "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_and_every_later_process_knows_when_a_snapshot_was_tried() {
    let (_server, place) = installation().await;
    let backup = tempfile::tempdir().unwrap();
    let configuration = configuration(backup.path(), &[]);
    let first = Snapshots::new(&configuration, place.clone(), None).unwrap();
    first.create(&mut |_, _| {}).await.unwrap();
    first.verify(&Choice::Newest, &mut |_, _| {}).await.unwrap();
    let (_, tried_at) = first.known().verified.unwrap();
    let second = Snapshots::new(&configuration, place.clone(), None).unwrap();
    assert_eq!(second.known().verified, None);
    let blobs = Blobs::new(place.objects.clone(), place.vault.clone());
    let builder = Server::builder().store(place.store.clone()).blobs(blobs).vault(place.vault.clone());
    let server = builder.snapshots(second.clone()).build().await.unwrap();
    let (app, shutdown) = (server.app().clone(), CancellationToken::new());
    let work = tokio::spawn(server.work(shutdown.clone()));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while second.known().verified.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", second.known());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(second.known().verified.unwrap().1.millis_since(tried_at) < 1_000, "{:?} {tried_at:?}", second.known());
    let figures = metrics::render(&app).await.unwrap();
    assert!(figures.contains("tfe_snapshot_verified_age_seconds") && figures.contains("tfe_snapshots_work 1"), "{figures}");
    shutdown.cancel();
    work.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_that_may_be_somebody_elses_are_kept_unless_the_operator_says_that_they_are_not() {
    let (_server, place) = installation().await;
    let repository = snapshot_of(&place).await;
    let used = Place { objects: place.objects.clone(), ..nowhere().await };
    let refused = by_hand(&repository, &used, false).await.unwrap_err();
    assert!(matches!(&refused, SnapshotError::Unsafe(reason) if reason.contains("--reuse-objects")), "{refused}");
    assert!(used.store.find::<Duty>(Duty::id_of("restore").as_str()).await.unwrap().is_none(), "nothing was changed");
    by_hand(&repository, &used, true).await.unwrap();
    assert!(matches!(by_hand(&repository, &used, true).await.unwrap_err(), SnapshotError::Occupied));
    // What a restore has brought itself is no reason to stop.
    let half = nowhere().await;
    let dying = Interrupted::new(half.store.clone(), Box::new(|number| Box::pin(async move { assert!(number < 3, "the process dies") })));
    let dying = Place { store: dying, ..half.clone() };
    let killed = tokio::spawn({
        let repository = repository.clone();
        async move { by_hand(&repository, &dying, false).await }
    });
    assert!(killed.await.unwrap_err().is_panic());
    by_hand(&repository, &half, false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_the_turn_to_restore_changes_nothing_any_more() {
    let (_server, place) = installation().await;
    let repository = snapshot_of(&place).await;
    let target = nowhere().await;
    let store = target.store.clone();
    // After the duty was taken, and before the records are there.
    let before = move |number| {
        let store = store.clone();
        let steal: BoxFuture<'static, ()> = Box::pin(async move {
            if number == 2 {
                let other = |duty: Duty| Duty { holder: "another".to_owned(), expires_at: SystemClock.now().plus_seconds(60), ..duty };
                store.update::<Duty>(Duty::id_of("restore").as_str(), other).await.unwrap();
            }
        });
        steal
    };
    let frozen = Place { store: Interrupted::new(target.store.clone(), Box::new(before)), ..target.clone() };
    let lost = by_hand(&repository, &frozen, false).await.unwrap_err();
    assert!(matches!(lost, SnapshotError::Store(_) | SnapshotError::Busy(_)), "{lost}");
    let organizations = target.store.list::<Organization>(Query::of::<Organization>().limit(1)).await.unwrap().items;
    assert!(organizations.is_empty(), "it went on");
    // Nor does anybody else begin while that one is at it.
    assert!(matches!(by_hand(&repository, &target, false).await.unwrap_err(), SnapshotError::Busy(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_data_fails_where_its_snapshots_are_gone() {
    let (_server, place) = installation().await;
    let home = tempfile::tempdir().unwrap();
    let backup = home.path().join("backup");
    let newest = configuration(&backup, &[]);
    let target = nowhere().await;
    let unmounted = at_boot(&newest, &target).await.unwrap_err().to_string();
    assert!(unmounted.contains("mount it") && !backup.exists(), "{unmounted}");
    std::fs::create_dir(&backup).unwrap();
    assert!(matches!(at_boot(&newest, &target).await.unwrap(), RestoreOnBoot::Nothing));
    let required = configuration(&backup, &[("TFE_BACKUP_RESTORE_ON_BOOT", "required")]);
    assert!(at_boot(&required, &target).await.unwrap_err().to_string().contains("requires"));
    Snapshots::new(&newest, place, None).unwrap().create(&mut |_, _| {}).await.unwrap();
    let snapshots = backup.join("snapshots");
    let aside = home.path().join("aside");
    std::fs::rename(&snapshots, &aside).unwrap();
    let gone = at_boot(&newest, &target).await.unwrap_err().to_string();
    assert!(gone.contains("its manifest is missing"), "{gone}");
    std::fs::rename(&aside, &snapshots).unwrap();
    assert!(matches!(at_boot(&required, &target).await.unwrap(), RestoreOnBoot::Restored(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_settles_late_leaves_alone_what_another_has_begun_since() {
    let (server, place) = installation().await;
    let workspace = server.workspace("settled").await;
    let configuration = server.configuration(&workspace, "# nothing", false).await;
    let flight = server.run(&workspace, &configuration, json!({})).await;
    server.run_until(&flight, &["plan_queued"]).await;
    unsettle(&server.app).await;
    // Another node settles, and a client starts a run there, just when this one begins.
    let (other, inner) = (place.clone(), place.store.clone());
    let (address, token) = (server.url.clone(), server.token.clone());
    let begun = Arc::new(std::sync::Mutex::new(None));
    let run = begun.clone();
    let before = move |number| {
        let (other, address, token, run) = (other.clone(), address.clone(), token.clone(), run.clone());
        let body = crate::harness::run_body(&workspace, &configuration, json!({})).to_string();
        let between: BoxFuture<'static, ()> = Box::pin(async move {
            if number == 0 {
                server_on(&other).await;
                let request = reqwest::Client::new().post(format!("{address}/api/v2/runs")).bearer_auth(token).body(body);
                *run.lock().unwrap() = Some(crate::harness::Answer::of(request).await.expect(201).id());
            }
        });
        between
    };
    server_on(&Place { store: Interrupted::new(inner, Box::new(before)), ..place }).await;
    assert_eq!(server.run_until(&flight, &["errored"]).await.text_at("/data/attributes/status"), "errored");
    let begun = begun.lock().unwrap().clone().unwrap();
    let shown = server.get(&format!("/api/v2/runs/{begun}")).await.expect(200);
    assert_eq!(shown.text_at("/data/attributes/status"), "plan_queued", "{}", shown.text);
}

/// Makes the installation one that was just restored.
async fn unsettle(app: &App) {
    let reached = Timestamp::from_millis(app.now().as_millis());
    let restoration = Restoration { at: reached, snapshot: "snapshot".to_owned(), reached, is_settled: false, applies_paused: false };
    let restored = |installation: Installation| Installation { restoration: Some(restoration.clone()), ..installation };
    app.store.update::<Installation>(Installation::only_id().as_str(), restored).await.unwrap();
}
