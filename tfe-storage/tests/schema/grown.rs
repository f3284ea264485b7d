//! A store whose schema was grown keeps all promises, like one that was made so.

use std::sync::Arc;

use tfe_core::{
    record::{Field, Kind},
    time::Timestamp,
};
use tfe_storage::{
    Error, FIRST_VERSION, Store, StoredRecord, Write, open_store,
    testing::kinds::{self, BOOKS},
};

use super::{
    catalog::{description, unfilled},
    library::{batch, cleared, founded},
    support::with_postgres,
};

/// What only a later program knows: who has a book.
static LOANS: Kind = Kind {
    name: "loans",
    fields: &[Field::refers("book_id", &["book_id"], "books"), Field::at("reader", &["reader"])],
    unique: &[],
    indexes: &[&["reader"]],
    seals: &[],
};

async fn with_store(test: impl AsyncFnOnce(Arc<dyn Store>)) {
    with_postgres(async |url: String| {
        drop(founded(&url, 20).await);
        let store = open_store(&url, kinds::ALL).await.unwrap();
        cleared(&url).await;
        test(store).await;
    })
    .await;
}

tfe_storage::store_conformance!(with_store);

#[tokio::test]
async fn a_grown_schema_is_like_one_that_was_made_so() {
    let mut made = None;
    with_postgres(async |url: String| {
        drop(open_store(&url, kinds::ALL).await.unwrap());
        made = Some(description(&url).await);
    })
    .await;
    with_postgres(async |url: String| {
        drop(founded(&url, 2_500).await);
        drop(open_store(&url, kinds::ALL).await.unwrap());
        assert_eq!(Some(description(&url).await), made);
        assert_eq!(unfilled(&url).await, 0);
    })
    .await;
}

#[tokio::test]
async fn a_new_table_refers_to_one_in_use() {
    with_postgres(async |url: String| {
        drop(founded(&url, 20).await);
        let store = open_store(&url, &[&LOANS, &BOOKS, &kinds::SHELVES]).await.unwrap();
        let loan = |id: &str, book: &str| {
            let body = serde_json::json!({"book_id": book, "reader": "r"});
            let record = StoredRecord { id: id.to_owned(), created_at: Timestamp::from_millis(1), version: FIRST_VERSION, body };
            batch(Write::Insert(&LOANS, record))
        };
        store.commit(loan("l1", "b1")).await.unwrap();
        assert!(matches!(store.commit(loan("l2", "nothing")).await, Err(Error::Dangling { .. })));
        store.commit(batch(Write::Delete { kind: &BOOKS, id: "b1".to_owned(), version: FIRST_VERSION })).await.unwrap();
        assert!(store.get(&LOANS, "l1").await.unwrap().is_none());
    })
    .await;
}
