//! Kinds for tests: a library. Shelves have unique labels; books stand on shelves, have unique titles there, and may
//! be sequels of other books.

use serde::{Deserialize, Serialize};
use tfe_core::{
    id::Id,
    record,
    record::{Field, Kind},
    time::Timestamp,
};

/// The kinds with which a store under test must be opened; the referring one first, since the order must not matter.
pub const ALL: &[&Kind] = &[&BOOKS, &SHELVES];

/// A place for books.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shelf {
    /// Its id.
    pub id: Id<Shelf>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Unique.
    pub label: String,
    /// How often it was counted.
    pub count: u64,
    /// Anything.
    pub notes: serde_json::Value,
}

/// A book on a shelf.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Book {
    /// Its id.
    pub id: Id<Book>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where it stands.
    pub shelf_id: Id<Shelf>,
    /// Unique on the shelf.
    pub title: String,
    /// Unique if known.
    pub isbn: Option<String>,
    /// The book that it continues.
    pub sequel_of: Option<Id<Book>>,
    /// What it is about.
    pub about: About,
}

/// What a book is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Its genre, if it has one.
    pub genre: Option<String>,
}

record!(Shelf, SHELVES = "shelves", prefix: "shelf",
    fields: [Field::at("label", &["label"])],
    unique: [&["label"]],
    indexes: []);

record!(Book, BOOKS = "books", prefix: "book",
    fields: [
        Field::refers("shelf_id", &["shelf_id"], "shelves"),
        Field::at("title", &["title"]),
        Field::at("isbn", &["isbn"]),
        Field::refers("sequel_of", &["sequel_of"], "books"),
        Field::at("genre", &["about", "genre"]),
    ],
    unique: [&["shelf_id", "title"], &["isbn"]],
    indexes: [&["genre"]]);

/// A shelf whose label is its id.
pub fn shelf(id: &str) -> Shelf {
    let (label, notes) = (id.to_owned(), serde_json::Value::Null);
    Shelf { id: id.into(), created_at: Timestamp::from_millis(1), label, count: 0, notes }
}

/// A book whose title is its id.
pub fn book(id: &str, shelf_id: &str) -> Book {
    let (created_at, about) = (Timestamp::from_millis(1), About { genre: None });
    Book { id: id.into(), created_at, shelf_id: shelf_id.into(), title: id.to_owned(), isbn: None, sequel_of: None, about }
}
