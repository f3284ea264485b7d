//! The library of `testing::kinds` as an earlier program knew it: books with titles and nothing else.

use std::sync::Arc;

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tfe_core::{
    record::{Field, Kind},
    time::Timestamp,
};
use tfe_storage::{Batch, FIRST_VERSION, Store, StoredRecord, Write, open_store};

/// The kinds of the earlier program.
pub(crate) const EARLIER: &[&Kind] = &[&EARLIER_BOOKS, &EARLIER_SHELVES];

pub(crate) static EARLIER_BOOKS: Kind =
    Kind { name: "books", fields: &[Field::at("title", &["title"])], unique: &[], indexes: &[], seals: &[] };
pub(crate) static EARLIER_SHELVES: Kind = Kind { name: "shelves", fields: &[], unique: &[], indexes: &[], seals: &[] };

/// The shelves on which books stand.
pub(crate) const SHELVES: u32 = 10;

/// Opens the database as the earlier program and puts so many books there, each like [`body`] says.
pub(crate) async fn founded(url: &str, books: u32) -> Arc<dyn Store> {
    let store = open_store(url, EARLIER).await.unwrap();
    let mut connection = connection(url).await;
    let shelf = "jsonb_build_object('id', 's' || n, 'created_at', 1, 'label', 's' || n, 'count', 0, 'notes', NULL)";
    let book = "jsonb_build_object('id', 'b' || n, 'created_at', 1, 'shelf_id', 's' || n % 10, 'title', 't' || n, \
                'isbn', CASE n % 2 WHEN 0 THEN 'i' || n END, 'sequel_of', CASE n % 3 WHEN 1 THEN 'b' || n - 1 END, \
                'about', jsonb_build_object('genre', CASE n % 5 WHEN 0 THEN 'g' || n % 7 END))";
    for (table, letter, body, count) in [("shelves", 's', shelf, SHELVES), ("books", 'b', book, books)] {
        let rows = format!("SELECT '{letter}' || n, 1, 1, {body} FROM generate_series(0, {count}::int - 1) AS n");
        let insert = AssertSqlSafe(format!("INSERT INTO {table} (id, created_at, version, body) {rows}"));
        sqlx::query(insert).execute(&mut connection).await.unwrap();
    }
    store
}

/// A book as the earlier program writes it.
pub(crate) fn written(number: u32) -> Write {
    let id = format!("w{number}");
    let body = json!({"id": id, "created_at": 1, "shelf_id": format!("s{}", number % SHELVES), "title": format!("t{id}"),
        "isbn": id, "sequel_of": null, "about": {"genre": "written"}});
    Write::Insert(&EARLIER_BOOKS, StoredRecord { id, created_at: Timestamp::from_millis(1), version: FIRST_VERSION, body })
}

/// Deletes everything.
pub(crate) async fn cleared(url: &str) {
    sqlx::query("DELETE FROM shelves").execute(&mut connection(url).await).await.unwrap();
}

/// A connection beside the stores'.
pub(crate) async fn connection(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

/// A batch of one write.
pub(crate) fn batch(write: Write) -> Batch {
    Batch::new().with(write)
}
