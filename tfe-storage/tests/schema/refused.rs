//! What cannot be added is said, and leaves older programs as they were.

use sqlx::{Connection, Executor};
use tfe_core::record::{Field, Kind};
use tfe_storage::{
    Error, open_store,
    testing::kinds::{self, SHELVES},
};

use super::{
    catalog::unfilled,
    library::{batch, connection, founded, written},
    patience::until,
    support::with_postgres,
};

/// Books whose genre is said to be elsewhere.
static OTHER_BOOKS: Kind = Kind {
    name: "books",
    fields: &[Field::at("title", &["title"]), Field::at("genre", &["genre"])],
    unique: &[],
    indexes: &[&["genre"]],
    seals: &[],
};

#[tokio::test]
async fn records_that_are_alike_where_they_must_not_be() {
    let spoil = "UPDATE books SET body = jsonb_set(body, '{isbn}', '\"same\"') WHERE id IN ('b1', 'b2')";
    let repair = "UPDATE books SET body = jsonb_set(body, '{isbn}', '\"other\"') WHERE id = 'b2'";
    refused(spoil, repair, "index books_isbn_key cannot be added").await;
}

#[tokio::test]
async fn records_that_refer_to_nothing() {
    let spoil = "UPDATE books SET body = jsonb_set(body, '{sequel_of}', '\"nothing\"') WHERE id = 'b1'";
    let repair = "UPDATE books SET body = jsonb_set(body, '{sequel_of}', 'null') WHERE id = 'b1'";
    refused(spoil, repair, "books_sequel_of_fkey cannot be added").await;
}

async fn refused(spoil: &'static str, repair: &'static str, reason: &str) {
    with_postgres(async |url: String| {
        let earlier = founded(&url, 20).await;
        let mut administrator = connection(&url).await;
        administrator.execute(spoil).await.unwrap();
        for round in 0..2 {
            let error = open_store(&url, kinds::ALL).await.unwrap_err();
            assert!(matches!(&error, Error::Incompatible(text) if text.contains(reason)), "{error:?}");
            earlier.commit(batch(written(round))).await.expect("the older program goes on");
            administrator.execute(spoil).await.expect("and may do what it always did");
        }
        let error = open_store(&url, &[&OTHER_BOOKS, &SHELVES]).await.unwrap_err();
        assert!(matches!(&error, Error::Incompatible(text) if text.contains("column books.genre was made as")), "{error:?}");
        administrator.execute(repair).await.unwrap();
        drop(open_store(&url, kinds::ALL).await.unwrap());
        assert_eq!(unfilled(&url).await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_read_holds_up_the_change_and_nobody_else() {
    with_postgres(async |url: String| {
        let earlier = founded(&url, 20).await;
        let mut reader = connection(&url).await;
        let mut read = reader.begin().await.unwrap();
        read.execute("SELECT count(*) FROM books").await.unwrap();
        let opening = tokio::spawn({
            let url = url.clone();
            async move { open_store(&url, kinds::ALL).await.map(drop) }
        });
        let mut administrator = connection(&url).await;
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
        for round in 0..3 {
            until("the change to wait", async || sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut administrator).await.unwrap() > 0)
                .await;
            // The change waits for the reader, and this for the change, until that gives way.
            earlier.commit(batch(written(round))).await.unwrap();
            assert!(!opening.is_finished());
        }
        read.rollback().await.unwrap();
        opening.await.unwrap().unwrap();
        assert_eq!(unfilled(&url).await, 0);
    })
    .await;
}
