//! Random batches and questions, put to a backend and to the reference: all answers and errors must be the same.

use std::sync::Arc;

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use tfe_core::{
    record::{Kind, Record},
    time::Timestamp,
};

use super::kinds::{About, BOOKS, Book, SHELVES, Shelf, book, shelf};
use crate::{Batch, Direction, FIRST_VERSION, Filter, MemoryStore, Page, Query, Sort, Store, StoredRecord, Write};

/// How many stories are tried.
const CASES: u32 = 150;
/// Few ids and values, so that they meet often.
const SHELF_IDS: [&str; 3] = ["s1", "s2", "s3"];
const BOOK_IDS: [&str; 4] = ["b1", "b2", "b3", "b4"];
const TEXTS: [&str; 8] = ["a", "A", "a%", "_", "", "ä", "b", "\\"];

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Change>),
    Ask(Query),
}

/// A write whose version is `ahead` of the record's; 0 is the right one.
#[derive(Debug, Clone)]
enum Change {
    Insert(Thing),
    Update { thing: Thing, ahead: u64 },
    Delete { thing: Thing, ahead: u64 },
    Check { thing: Thing, ahead: u64 },
}

#[derive(Debug, Clone)]
enum Thing {
    Shelf(Shelf),
    Book(Book),
}

/// The backend tells the same story as the reference.
#[expect(clippy::unused_async, reason = "all promises are called alike")]
pub async fn behaves_like_the_reference(store: Arc<dyn Store>) {
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let runtime = tokio::runtime::Handle::current();
    let tell = |steps: Vec<Step>| runtime.block_on(compare(&*store, steps));
    let stories = proptest::collection::vec(step(), 1..30);
    let outcome = tokio::task::block_in_place(|| TestRunner::new(config).run(&stories, tell));
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

async fn compare(store: &dyn Store, steps: Vec<Step>) -> Result<(), TestCaseError> {
    clear(store).await;
    let reference = MemoryStore::new();
    // Two shelves to begin with, else most books would have no place.
    let shelves = Batch::new().insert(&shelf("s1")).insert(&shelf("s2"));
    store.commit(shelves.clone()).await.unwrap();
    reference.commit(shelves).await.unwrap();
    for step in steps {
        match step {
            Step::Ask(query) => prop_assert_eq!(answer(store, &query).await, answer(&reference, &query).await, "{:?}", query),
            Step::Commit(changes) => {
                let mut batch = Batch::new();
                for change in changes {
                    batch = batch.with(write(&reference, change).await);
                }
                let (actual, expected) = (store.commit(batch.clone()).await, reference.commit(batch.clone()).await);
                prop_assert_eq!(format!("{actual:?}"), format!("{expected:?}"), "{:?}", batch);
            }
        }
    }
    for kind in [&SHELVES, &BOOKS] {
        let all = Query::new(kind).counted();
        prop_assert_eq!(answer(store, &all).await, answer(&reference, &all).await);
    }
    Ok(())
}

/// Shelves take the books along.
async fn clear(store: &dyn Store) {
    let shelves = store.query(&Query::new(&SHELVES)).await.unwrap().items;
    let delete = |batch: Batch, shelf: StoredRecord| batch.with(Write::Delete { kind: &SHELVES, id: shelf.id, version: shelf.version });
    store.commit(shelves.into_iter().fold(Batch::new(), delete)).await.unwrap();
}

async fn answer(store: &dyn Store, query: &Query) -> Result<Page, String> {
    store.query(query).await.map_err(|error| format!("{error:?}"))
}

async fn write(reference: &MemoryStore, change: Change) -> Write {
    let version = async |kind, id: &str, ahead| {
        let current = reference.get(kind, id).await.unwrap();
        current.map_or(FIRST_VERSION, |record| record.version) + ahead
    };
    match change {
        Change::Insert(thing) => {
            let (kind, record) = thing.stored();
            Write::Insert(kind, record)
        }
        Change::Update { thing, ahead } => {
            let (kind, record) = thing.stored();
            let version = version(kind, &record.id, ahead).await;
            Write::Update(kind, StoredRecord { version, ..record })
        }
        Change::Delete { thing, ahead } => {
            let (kind, StoredRecord { id, .. }) = thing.stored();
            Write::Delete { kind, version: version(kind, &id, ahead).await, id }
        }
        Change::Check { thing, ahead } => {
            let (kind, StoredRecord { id, .. }) = thing.stored();
            Write::Check { kind, version: version(kind, &id, ahead).await, id }
        }
    }
}

impl Thing {
    fn stored(self) -> (&'static Kind, StoredRecord) {
        fn stored<T: Record>(record: &T) -> (&'static Kind, StoredRecord) {
            let body = serde_json::to_value(record).unwrap();
            (T::KIND, StoredRecord { id: record.key().to_owned(), created_at: record.created_at(), version: FIRST_VERSION, body })
        }
        match self {
            Self::Shelf(one) => stored(&one),
            Self::Book(one) => stored(&one),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => proptest::collection::vec(change(), 1..3).prop_map(Step::Commit),
        1 => query().prop_map(Step::Ask),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let ahead = || prop_oneof![4 => Just(0_u64), 1 => Just(1)];
    prop_oneof![
        6 => thing().prop_map(Change::Insert),
        4 => (thing(), ahead()).prop_map(|(thing, ahead)| Change::Update { thing, ahead }),
        3 => (thing(), ahead()).prop_map(|(thing, ahead)| Change::Delete { thing, ahead }),
        1 => (thing(), ahead()).prop_map(|(thing, ahead)| Change::Check { thing, ahead }),
    ]
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![a_shelf().prop_map(Thing::Shelf), a_book().prop_map(Thing::Book)]
}

fn a_shelf() -> impl Strategy<Value = Shelf> {
    (select(&SHELF_IDS[..]), text(), 0..3_i64).prop_map(|(id, label, millis)| {
        let created_at = Timestamp::from_millis(millis);
        Shelf { created_at, label, ..shelf(id) }
    })
}

fn a_book() -> impl Strategy<Value = Book> {
    let optional = || proptest::option::weighted(0.3, text());
    let sequel_of = proptest::option::weighted(0.2, select(&BOOK_IDS[..]));
    let shelf_id = select(&SHELF_IDS[..]);
    (select(&BOOK_IDS[..]), shelf_id, text(), optional(), sequel_of, optional()).prop_map(
        |(id, shelf_id, title, isbn, sequel_of, genre)| {
            let sequel_of = sequel_of.map(Into::into);
            Book { title, isbn, sequel_of, about: About { genre }, ..book(id, shelf_id) }
        },
    )
}

fn query() -> impl Strategy<Value = Query> {
    let kind = prop_oneof![
        Just((&SHELVES, &["id", "label"][..])),
        Just((&BOOKS, &["id", "shelf_id", "title", "isbn", "sequel_of", "genre"][..])),
    ];
    kind.prop_flat_map(|(kind, fields)| {
        let filters = proptest::collection::vec(filter(fields), 0..3);
        let sort = prop_oneof![Just(Sort::Created), Just(Sort::Id), select(fields).prop_map(Sort::Field)];
        let direction = prop_oneof![Just(Direction::Ascending), Just(Direction::Descending)];
        (filters, sort, direction, 0..3_u64, 0..5_u64, any::<bool>()).prop_map(move |(filters, sort, direction, offset, limit, counted)| {
            let query = filters.into_iter().fold(Query::new(kind), Query::filter);
            let query = query.sort(sort, direction).page(offset, limit);
            if counted { query.counted() } else { query }
        })
    })
}

fn filter(fields: &'static [&'static str]) -> impl Strategy<Value = Filter> {
    let value = || prop_oneof![text(), select(&SHELF_IDS[..]).prop_map(str::to_owned), select(&BOOK_IDS[..]).prop_map(str::to_owned)];
    let choices = proptest::collection::vec(value(), 0..4);
    prop_oneof![
        (select(fields), value()).prop_map(|(field, value)| Filter::Equals(field, value)),
        (select(fields), choices).prop_map(|(field, values)| Filter::AnyOf(field, values)),
        (select(fields), value()).prop_map(|(field, value)| Filter::Contains(field, value)),
        select(fields).prop_map(Filter::IsNull),
        (select(fields), value()).prop_map(|(field, value)| Filter::After(field, value)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    select(&TEXTS[..]).prop_map(str::to_owned)
}
