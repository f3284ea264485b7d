//! What only databases promise: data that stays, and a schema that grows.

#![cfg(feature = "sqlite")]
#![expect(clippy::needless_pass_by_value, reason = "assertions read best around the call whose result they take")]

mod support;

use std::{path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use tfe_core::{
    id::Id,
    record,
    record::{Field, Kind},
    time::Timestamp,
};
use tfe_storage::{
    Batch, Error, Query, Store, StoreExt, open_store,
    testing::kinds::{self, SHELVES, Shelf, shelf},
};

/// A shelf as a later program knows it: with one more field and index.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LaterShelf {
    id: Id<LaterShelf>,
    created_at: Timestamp,
    label: String,
    notes: serde_json::Value,
}

record!(LaterShelf, LATER_SHELVES = "shelves", prefix: "shelf",
    fields: [Field::at("label", &["label"]), Field::at("room", &["notes", "room"])],
    unique: [&["label"]],
    indexes: [&["room"]]);

/// A shelf whose label is said to be elsewhere.
static OTHER_SHELVES: Kind =
    Kind { name: "shelves", fields: &[Field::at("label", &["notes", "label"])], unique: &[&["label"]], indexes: &[], seals: &[] };

/// A kind whose index would have a name of 64 letters.
static LONG_NAMES: Kind = Kind {
    name: "kinds_with_long_field_names",
    fields: &[Field::at("a_field_name_16abc", &["a"])],
    unique: &[],
    indexes: &[&["a_field_name_16abc"]],
    seals: &[],
};

#[tokio::test]
async fn a_sqlite_file_keeps_its_records_and_is_private() {
    with_sqlite(async |url| {
        keeps_records(&url).await;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(path(&url)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    })
    .await;
}

#[tokio::test]
async fn a_sqlite_schema_grows_and_older_programs_go_on() {
    with_sqlite(async |url| grows(&url).await).await;
}

#[tokio::test]
async fn a_sqlite_schema_does_not_change() {
    with_sqlite(async |url| refuses_a_changed_field(&url).await).await;
}

#[tokio::test]
async fn names_that_a_database_would_cut_are_refused() {
    with_sqlite(async |url| assert_incompatible(open_store(&url, &[&LONG_NAMES]).await, "long_field_names")).await;
}

#[tokio::test]
async fn a_newer_sqlite_format_is_followed_as_long_as_it_says_so() {
    with_sqlite(async |url| {
        let execute = async |sql: &'static str| {
            let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
            let done = sqlx::query(sql).execute(&pool).await.map(drop);
            pool.close().await;
            done
        };
        follows_formats(&url, execute).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sqlite_file_is_prepared_once_by_many() {
    with_sqlite(async |url| opens_at_once(&url).await).await;
}

#[cfg(feature = "postgres")]
mod postgres {
    use super::{follows_formats, grows, keeps_records, opens_at_once, refuses_a_changed_field, support::with_postgres};

    #[tokio::test]
    async fn a_database_keeps_its_records() {
        with_postgres(async |url: String| keeps_records(&url).await).await;
    }

    #[tokio::test]
    async fn a_schema_grows_and_older_programs_go_on() {
        with_postgres(async |url: String| grows(&url).await).await;
    }

    #[tokio::test]
    async fn a_schema_does_not_change() {
        with_postgres(async |url: String| refuses_a_changed_field(&url).await).await;
    }

    #[tokio::test]
    async fn a_newer_format_is_followed_as_long_as_it_says_so() {
        with_postgres(async |url: String| {
            let pool = sqlx::PgPool::connect(&url).await.unwrap();
            follows_formats(&url, async |sql: &'static str| sqlx::query(sql).execute(&pool).await.map(drop)).await;
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_is_prepared_once_by_many() {
        with_postgres(async |url: String| opens_at_once(&url).await).await;
    }
}

#[tokio::test]
async fn an_address_that_names_no_store_is_explained_without_repeating_it() {
    for url in ["", "mysql://root:hunter2@host/db", "postgres://user:hunter2@host:port/db", "hunter2"] {
        let error = open_store(url, kinds::ALL).await.unwrap_err();
        assert!(matches!(error, Error::Address(_)), "{error:?}");
        assert!(url == "hunter2" || !format!("{error} {error:?}").contains("hunter2"));
    }
    assert!(open_store("memory:", kinds::ALL).await.is_ok());
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_named() {
    let error = open_store("sqlite:///nonexistent-directory/test.db", kinds::ALL).await.unwrap_err();
    let Error::Unavailable(source) = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("/nonexistent-directory/test.db"), "{source}");
}

async fn keeps_records(url: &str) {
    let store = open_store(url, kinds::ALL).await.unwrap();
    store.commit(Batch::new().insert(&shelf("shelf-1"))).await.unwrap();
    drop(store);
    let store = open_store(url, kinds::ALL).await.unwrap();
    assert_eq!(store.find::<Shelf>("shelf-1").await.unwrap().unwrap().record, shelf("shelf-1"));
}

async fn grows(url: &str) {
    let older = open_store(url, kinds::ALL).await.unwrap();
    let in_room = |id| Shelf { notes: serde_json::json!({"room": "north"}), ..shelf(id) };
    older.commit(Batch::new().insert(&in_room("shelf-1"))).await.unwrap();
    let newer = open_store(url, &[&LATER_SHELVES]).await.unwrap();
    older.commit(Batch::new().insert(&in_room("shelf-2"))).await.unwrap();
    let found = newer.list::<LaterShelf>(Query::of::<LaterShelf>().equals("room", "north")).await.unwrap();
    assert_eq!(found.items.len(), 2, "the new column has the old rows' values, and those of an older program");
    open_store(url, kinds::ALL).await.expect("an older program still opens it");
}

async fn refuses_a_changed_field(url: &str) {
    open_store(url, kinds::ALL).await.unwrap();
    assert_incompatible(open_store(url, &[&OTHER_SHELVES]).await, "shelves.label");
}

async fn follows_formats(url: &str, execute: impl AsyncFn(&'static str) -> Result<(), sqlx::Error>) {
    drop(open_store(url, kinds::ALL).await.unwrap());
    execute("UPDATE meta SET definition = '99' WHERE name = 'format'").await.unwrap();
    drop(open_store(url, kinds::ALL).await.expect("the newer program says that this one may still write"));
    execute("UPDATE meta SET definition = '42' WHERE name = 'format oldest'").await.unwrap();
    execute("UPDATE meta SET definition = '9.8.7' WHERE name = 'format release'").await.unwrap();
    for named in ["9.8.7 wrote it in format 99", "of format 42 and newer", concat!("this is ", env!("CARGO_PKG_VERSION"), " of format")] {
        assert_incompatible(open_store(url, &[&LATER_SHELVES]).await, named);
    }
    execute("SELECT room FROM shelves").await.expect_err("a program that is refused adds nothing");
    // What a release before there was a word for the oldest wrote.
    execute("DELETE FROM meta WHERE name <> 'format' AND name LIKE 'format%'").await.unwrap();
    assert_incompatible(open_store(url, kinds::ALL).await, "99");
    execute("UPDATE meta SET definition = '1' WHERE name = 'format'").await.unwrap();
    drop(open_store(url, kinds::ALL).await.unwrap());
}

async fn opens_at_once(url: &str) {
    let open = || {
        let url = url.to_owned();
        tokio::spawn(async move { open_store(&url, kinds::ALL).await.map(drop) })
    };
    let all: Vec<_> = (0..6).map(|_| open()).collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    let store = open_store(url, kinds::ALL).await.unwrap();
    assert_eq!(store.query(&Query::new(&SHELVES)).await.unwrap().items, []);
}

async fn with_sqlite(test: impl AsyncFnOnce(String)) {
    let directory = tempfile::tempdir().unwrap();
    test(format!("sqlite://{}/test.db", directory.path().display())).await;
}

fn path(url: &str) -> &Path {
    Path::new(url.strip_prefix("sqlite://").unwrap())
}

#[track_caller]
fn assert_incompatible(result: Result<Arc<dyn Store>, Error>, expected: &str) {
    assert!(matches!(&result, Err(Error::Incompatible(text)) if text.contains(expected)), "{result:?}");
}
