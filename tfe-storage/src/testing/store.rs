//! What every store must do.

#![expect(clippy::needless_pass_by_value, reason = "assertions read best around the call whose result they take")]

use std::sync::Arc;

use serde_json::json;
use tfe_core::{id::Id, record::Record, time::Timestamp};

use super::kinds::{About, BOOKS, Book, SHELVES, Shelf, book, shelf};
use crate::{
    Batch, Direction, Error, FIRST_VERSION, MAX_CHOICES, MAX_INDEXED_BYTES, MAX_PAGE, MAX_VALUE_BYTES, Query, Result, Sort, Store,
    StoreExt, StoredRecord, Versioned, Write,
};

type TheStore = Arc<dyn Store>;

/// What was inserted is found by id and by field, at the first version.
pub async fn finds_what_was_inserted(store: TheStore) {
    let made = Shelf { created_at: Timestamp::from_millis(1_700_000_000_123), ..shelf("shelf-1") };
    assert_eq!(store.find::<Shelf>("shelf-1").await.unwrap(), None);
    store.commit(Batch::new().insert(&made)).await.unwrap();
    let found = Some(Versioned::inserted(made));
    assert_eq!(store.find::<Shelf>("shelf-1").await.unwrap(), found);
    assert_eq!(store.find_by::<Shelf>("label", "shelf-1").await.unwrap(), found);
    assert_eq!(store.find_by::<Shelf>("label", "shelf-2").await.unwrap(), None);
    assert_eq!(store.find::<Book>("shelf-1").await.unwrap(), None, "ids belong to a kind");
    let raw = store.get(&SHELVES, "shelf-1").await.unwrap().unwrap();
    assert_eq!((raw.id.as_str(), raw.version, raw.created_at.as_millis()), ("shelf-1", FIRST_VERSION, 1_700_000_000_123));
}

/// A view shows what was there when it was opened, whatever is committed while it is read.
pub async fn keeps_a_view_as_it_was(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("s1")).insert(&shelf("s2")).insert(&book("b", "s1"))).await.unwrap();
    let mut view = store.view().await.unwrap();
    let first = view.page(&SHELVES, None, 1).await.unwrap();
    let (one, two) = (find::<Shelf>(&store, "s1").await, find::<Shelf>(&store, "s2").await);
    let changed = Shelf { count: 9, ..two.record.clone() };
    store.commit(Batch::new().delete(&one).update(&two, &changed).insert(&shelf("s3"))).await.unwrap();
    assert_eq!(first[0].id, "s1");
    let rest = view.page(&SHELVES, Some("s1"), MAX_PAGE).await.unwrap();
    assert_eq!(rest.iter().map(|record| (record.id.as_str(), record.version)).collect::<Vec<_>>(), [("s2", FIRST_VERSION)]);
    assert_eq!(view.page(&BOOKS, None, MAX_PAGE).await.unwrap().len(), 1, "what it referred to is still there");
    drop(view);
    let now = store.view().await.unwrap().page(&SHELVES, None, MAX_PAGE).await.unwrap();
    assert_eq!(now.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), ["s2", "s3"]);
}

/// Bodies come back as they were, apart from the order of keys.
pub async fn keeps_a_body_as_it_is(store: TheStore) {
    let notes = json!({
        "text": "quotes ' \" \\ and ümläut, 漢字, 🦀, \u{1}\u{7f}\u{2028}", "empty": "", "null": null, "": {"nested": [[], {}, [1, "a", null]]},
        "numbers": [0, -1, 1.5, u64::MAX, i64::MIN, 1e-7], "bool": [true, false], "long": "x".repeat(100_000), "'; DROP TABLE shelves; --": 1,
    });
    let made = Shelf { notes, ..shelf("shelf-1") };
    store.commit(Batch::new().insert(&made)).await.unwrap();
    assert_eq!(find::<Shelf>(&store, "shelf-1").await.record, made);
}

/// An id is taken once.
pub async fn refuses_a_taken_id(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("shelf-1"))).await.unwrap();
    let again = Shelf { label: "other".to_owned(), ..shelf("shelf-1") };
    assert_already_exists(store.commit(Batch::new().insert(&again)).await, "shelves");
}

/// A unique value is taken once, by inserts and by updates, and is free again after a delete.
pub async fn refuses_a_taken_unique_value(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("shelf-1")).insert(&shelf("shelf-2"))).await.unwrap();
    let again = Shelf { label: "shelf-1".to_owned(), ..shelf("shelf-3") };
    assert_already_exists(store.commit(Batch::new().insert(&again)).await, "shelves");
    let second = find::<Shelf>(&store, "shelf-2").await;
    let renamed = Shelf { label: "shelf-1".to_owned(), ..second.record.clone() };
    assert_already_exists(store.commit(Batch::new().update(&second, &renamed)).await, "shelves");
    store.commit(Batch::new().update(&second, &second.record)).await.expect("a record does not collide with itself");
    let first = find::<Shelf>(&store, "shelf-1").await;
    store.commit(Batch::new().delete(&first).insert(&again)).await.unwrap();
}

/// Null is never equal to null.
pub async fn allows_missing_unique_values(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("s")).insert(&book("book-1", "s")).insert(&book("book-2", "s"))).await.unwrap();
    assert_eq!(store.list::<Book>(Query::of::<Book>().is_null("isbn")).await.unwrap().items.len(), 2);
}

/// The values of a group are unique together only.
pub async fn compares_unique_groups_as_a_whole(store: TheStore) {
    let titled = |id, shelf| Book { title: "same".to_owned(), ..book(id, shelf) };
    let batch = Batch::new().insert(&shelf("s1")).insert(&shelf("s2"));
    store.commit(batch.insert(&titled("book-1", "s1")).insert(&titled("book-2", "s2"))).await.unwrap();
    assert_already_exists(store.commit(Batch::new().insert(&titled("book-3", "s1"))).await, "books");
}

/// What is referred to must exist; null refers to nothing, and a record may refer to itself.
pub async fn refuses_a_dangling_reference(store: TheStore) {
    assert_dangling(store.commit(Batch::new().insert(&book("book-1", "s"))).await, "books");
    assert_dangling(store.commit(Batch::new().insert(&book("book-1", "s")).insert(&shelf("s"))).await, "books");
    let sequel = Book { sequel_of: Some("book-0".into()), ..book("book-1", "s") };
    assert_dangling(store.commit(Batch::new().insert(&shelf("s")).insert(&sequel)).await, "books");
    let own_sequel = Book { sequel_of: Some("book-1".into()), ..book("book-1", "s") };
    store.commit(Batch::new().insert(&shelf("s")).insert(&own_sequel)).await.unwrap();
}

/// An update can dangle too.
pub async fn refuses_a_changed_reference_that_dangles(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("s")).insert(&book("book-1", "s"))).await.unwrap();
    let found = find::<Book>(&store, "book-1").await;
    assert_dangling(store.commit(Batch::new().update(&found, book("book-1", "missing"))).await, "books");
    assert_eq!(find::<Book>(&store, "book-1").await, found);
}

/// Deleting a record deletes all that refer to it, over several steps, and nothing else.
pub async fn deletes_what_refers(store: TheStore) {
    let sequel = |id, of: &str| Book { sequel_of: Some(of.into()), ..book(id, "s2") };
    let shelves = Batch::new().insert(&shelf("s1")).insert(&shelf("s2"));
    let books = Batch::new().insert(&book("book-1", "s1")).insert(&sequel("book-2", "book-1")).insert(&sequel("book-3", "book-2"));
    store.commit(shelves.and(books).insert(&book("book-4", "s2"))).await.unwrap();
    let shelf = find::<Shelf>(&store, "s1").await;
    store.commit(Batch::new().delete(&shelf)).await.unwrap();
    assert_eq!(ids::<Book>(&store, Query::of::<Book>()).await, ["book-4"]);
    assert_eq!(ids::<Shelf>(&store, Query::of::<Shelf>()).await, ["s2"]);
}

/// Records that refer to each other in a circle can be deleted.
pub async fn deletes_what_refers_to_itself(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("s")).insert(&book("book-1", "s")).insert(&book("book-2", "s"))).await.unwrap();
    for (one, other) in [("book-1", "book-2"), ("book-2", "book-1")] {
        store.update::<Book>(one, |book| Book { sequel_of: Some(other.into()), ..book }).await.unwrap();
    }
    let first = find::<Book>(&store, "book-1").await;
    store.commit(Batch::new().delete(&first)).await.unwrap();
    assert!(ids::<Book>(&store, Query::of::<Book>()).await.is_empty());
}

/// Of two updates of one version the second is refused.
pub async fn refuses_a_stale_update(store: TheStore) {
    let stale = stale_shelf(&store).await;
    assert_conflict(store.commit(Batch::new().update(&stale, Shelf { count: 9, ..stale.record.clone() })).await, "shelf-1");
    let current = find::<Shelf>(&store, "shelf-1").await;
    assert_eq!((current.version, current.count), (FIRST_VERSION + 1, 1));
    store.commit(Batch::new().delete(&current)).await.unwrap();
    assert_conflict(store.commit(Batch::new().update(&current, &current.record)).await, "shelf-1");
}

/// What has changed is not deleted, and what is gone cannot be deleted.
pub async fn refuses_a_stale_delete(store: TheStore) {
    let stale = stale_shelf(&store).await;
    assert_conflict(store.commit(Batch::new().delete(&stale)).await, "shelf-1");
    let current = find::<Shelf>(&store, "shelf-1").await;
    store.commit(Batch::new().delete(&current)).await.unwrap();
    assert_conflict(store.commit(Batch::new().delete(&current)).await, "shelf-1");
}

/// A check fails like a write would, and takes the batch along.
pub async fn refuses_a_stale_check(store: TheStore) {
    let stale = stale_shelf(&store).await;
    assert_conflict(store.commit(Batch::new().insert(&shelf("shelf-2")).check(&stale)).await, "shelf-1");
    assert_eq!(store.find::<Shelf>("shelf-2").await.unwrap(), None);
    let current = find::<Shelf>(&store, "shelf-1").await;
    store.commit(Batch::new().check(&current).delete(&current)).await.unwrap();
    assert_conflict(store.commit(Batch::new().check(&current)).await, "shelf-1");
}

/// A check leaves the version alone.
pub async fn a_check_writes_nothing(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("shelf-1"))).await.unwrap();
    let found = find::<Shelf>(&store, "shelf-1").await;
    store.commit(Batch::new().check(&found).insert(&shelf("shelf-2")).check(&found)).await.unwrap();
    assert_eq!(find::<Shelf>(&store, "shelf-1").await, found);
}

/// A batch that fails at its end has done nothing.
pub async fn commits_all_or_nothing(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("s1")).insert(&shelf("s2"))).await.unwrap();
    let (first, second) = (find::<Shelf>(&store, "s1").await, find::<Shelf>(&store, "s2").await);
    let changed = Shelf { count: 7, ..first.record.clone() };
    let batch = Batch::new().insert(&shelf("s3")).update(&first, &changed).delete(&second);
    assert_dangling(store.commit(batch.insert(&book("book-1", "missing"))).await, "books");
    assert_eq!(find::<Shelf>(&store, "s1").await, first);
    assert_eq!(ids::<Shelf>(&store, Query::of::<Shelf>()).await, ["s1", "s2"]);
}

/// Writes happen in order, each on what the earlier ones left.
pub async fn sees_earlier_writes_of_a_batch(store: TheStore) {
    let first = Versioned::inserted(shelf("s"));
    let second = Versioned { version: FIRST_VERSION + 1, record: Shelf { count: 1, ..shelf("s") } };
    let third = Shelf { count: 2, ..shelf("s") };
    let batch = Batch::new().insert(&first.record).insert(&book("book-1", "s")).update(&first, &second.record).check(&second);
    store.commit(batch.update(&second, &third)).await.unwrap();
    assert_eq!(find::<Shelf>(&store, "s").await, Versioned { version: FIRST_VERSION + 2, record: third });
    let (shelf, book) = (find::<Shelf>(&store, "s").await, find::<Book>(&store, "book-1").await);
    assert_conflict(store.commit(Batch::new().delete(&shelf).update(&book, &book.record)).await, "book-1");
}

/// Nothing to do is done.
pub async fn allows_an_empty_batch(store: TheStore) {
    assert!(Batch::new().is_empty());
    store.commit(Batch::new()).await.unwrap();
}

/// What one backend could not keep is refused by all.
pub async fn refuses_what_no_store_can_keep(store: TheStore) {
    let nul = Shelf { notes: json!({"deep": ["a\0b"]}), ..shelf("shelf-1") };
    assert_invalid(store.commit(Batch::new().insert(&nul)).await);
    assert_invalid(store.commit(Batch::new().insert(&Shelf { id: "a\0".into(), ..shelf("shelf-1") })).await);
    let long = Shelf { label: "x".repeat(MAX_INDEXED_BYTES + 1), ..shelf("shelf-1") };
    assert_invalid(store.commit(Batch::new().insert(&long)).await);
    let number = StoredRecord { body: json!({"label": 1}), ..stored("shelf-1") };
    assert_invalid(store.commit(Batch::new().with(Write::Insert(&SHELVES, number))).await);
    let longest = Shelf { label: "ü".repeat(MAX_INDEXED_BYTES / 2), ..shelf("shelf-1") };
    store.commit(Batch::new().insert(&longest)).await.unwrap();
}

/// Each filter, and all together.
pub async fn filters(store: TheStore) {
    let batch = Batch::new().insert(&shelf("s1")).insert(&shelf("s2")).insert(&book("book-1", "s1"));
    let with_isbn = Book { isbn: Some("i".to_owned()), ..book("book-3", "s2") };
    store.commit(batch.insert(&book("book-2", "s1")).insert(&with_isbn)).await.unwrap();
    let books = || Query::of::<Book>();
    assert_eq!(ids::<Book>(&store, books().equals("shelf_id", Id::<Shelf>::from("s1"))).await, ["book-1", "book-2"]);
    assert_eq!(ids::<Book>(&store, books().any_of("title", ["book-3", "book-1", "no"])).await, ["book-1", "book-3"]);
    assert_eq!(ids::<Book>(&store, books().is_null("isbn")).await, ["book-1", "book-2"]);
    assert_eq!(ids::<Book>(&store, books().equals("isbn", "i")).await, ["book-3"]);
    assert_eq!(ids::<Book>(&store, books().equals("id", "book-2")).await, ["book-2"]);
    assert_eq!(ids::<Book>(&store, books().any_of("id", ["book-2", "book-3"]).equals("shelf_id", "s1")).await, ["book-2"]);
    assert_eq!(ids::<Book>(&store, books().contains("id", "OOK-3")).await, ["book-3"]);
    assert!(ids::<Book>(&store, books().any_of("title", [""; 0])).await.is_empty());
}

/// No character of a searched text has a special meaning; ASCII letters match in either case, others exactly.
pub async fn filters_by_text_literally(store: TheStore) {
    let labels = [("s1", "100%"), ("s2", "a_b"), ("s3", "aXb"), ("s4", r"back\slash"), ("s5", "Ärger"), ("s6", "it's")];
    let batch = labels.iter().fold(Batch::new(), |batch, (id, label)| batch.insert(&Shelf { label: (*label).to_owned(), ..shelf(id) }));
    store.commit(batch).await.unwrap();
    for (text, expected) in [
        ("%", vec!["s1"]),
        ("A_B", vec!["s2"]),
        ("axb", vec!["s3"]),
        (r"\", vec!["s4"]),
        ("ÄRGER", vec!["s5"]),
        ("ärger", vec![]),
        ("'", vec!["s6"]),
        ("", vec!["s1", "s2", "s3", "s4", "s5", "s6"]),
    ] {
        assert_eq!(ids::<Shelf>(&store, Query::of::<Shelf>().contains("label", text)).await, expected, "{text}");
    }
}

/// A field may be deep in the body, and its parents may be missing.
pub async fn filters_by_nested_fields(store: TheStore) {
    let crime = Book { about: About { genre: Some("crime".to_owned()) }, ..book("book-1", "s") };
    store.commit(Batch::new().insert(&shelf("s")).insert(&crime).insert(&book("book-2", "s"))).await.unwrap();
    let bare = StoredRecord { body: json!({"shelf_id": "s", "title": "t"}), ..stored("book-3") };
    store.commit(Batch::new().with(Write::Insert(&BOOKS, bare))).await.unwrap();
    let found = async |query: Query| store.query(&query).await.unwrap().items.into_iter().map(|item| item.id).collect::<Vec<_>>();
    assert_eq!(found(Query::of::<Book>().equals("genre", "crime")).await, ["book-1"]);
    assert_eq!(found(Query::of::<Book>().is_null("genre")).await, ["book-2", "book-3"]);
}

/// Texts are ordered by their bytes on every backend, whatever the machine's language.
pub async fn orders_by_bytes(store: TheStore) {
    let sorted = ["", "-", "A", "B", "_", "a", "a b", "a-b", "aB", "ab", "b", "ä", "漢", "🦀"];
    let labels = [8, 3, 13, 0, 5, 10, 1, 12, 7, 2, 9, 4, 11, 6].map(|index| sorted[index]);
    let batch =
        labels.iter().fold(Batch::new(), |batch, label| batch.insert(&Shelf { label: (*label).to_owned(), ..shelf(&format!("x{label}")) }));
    store.commit(batch).await.unwrap();
    for sort in [Sort::Field("label"), Sort::Id] {
        let found = list::<Shelf>(&store, Query::of::<Shelf>().sort(sort, Direction::Ascending)).await;
        assert_eq!(found.iter().map(|shelf| shelf.label.as_str()).collect::<Vec<_>>(), sorted);
    }
}

/// Missing values come first, and last when the order is reversed.
pub async fn orders_missing_values_first(store: TheStore) {
    let isbn = |id, isbn: Option<&str>| Book { isbn: isbn.map(str::to_owned), ..book(id, "s") };
    let batch = Batch::new().insert(&shelf("s")).insert(&isbn("book-1", Some("b"))).insert(&isbn("book-2", None));
    store.commit(batch.insert(&isbn("book-3", Some("a"))).insert(&isbn("book-4", None))).await.unwrap();
    let by_isbn = |direction| Query::of::<Book>().sort(Sort::Field("isbn"), direction);
    assert_eq!(ids::<Book>(&store, by_isbn(Direction::Ascending)).await, ["book-2", "book-4", "book-3", "book-1"]);
    assert_eq!(ids::<Book>(&store, by_isbn(Direction::Descending)).await, ["book-1", "book-3", "book-4", "book-2"]);
}

/// The default order is by time and then by id; descending is the exact reverse.
pub async fn breaks_ties_by_id(store: TheStore) {
    let at = |id, millis| Shelf { created_at: Timestamp::from_millis(millis), ..shelf(id) };
    store.commit(Batch::new().insert(&at("c", 1)).insert(&at("a", 2)).insert(&at("d", 2)).insert(&at("b", -5))).await.unwrap();
    assert_eq!(ids::<Shelf>(&store, Query::of::<Shelf>()).await, ["b", "c", "a", "d"]);
    assert_eq!(ids::<Shelf>(&store, Query::of::<Shelf>().sort(Sort::Created, Direction::Descending)).await, ["d", "a", "c", "b"]);
    store.update::<Shelf>("c", |shelf| Shelf { count: 1, ..shelf }).await.unwrap();
    assert_eq!(ids::<Shelf>(&store, Query::of::<Shelf>()).await, ["b", "c", "a", "d"], "an update keeps the place");
}

/// Pages have the asked size; the total counts all pages only when asked.
pub async fn pages_and_counts(store: TheStore) {
    store.commit((0..7).fold(Batch::new(), |batch, number| batch.insert(&shelf(&format!("s{number}"))))).await.unwrap();
    let page = async |query: Query| {
        let page = store.query(&query).await.unwrap();
        (page.items.into_iter().map(|item| item.id).collect::<Vec<_>>().join(" "), page.total)
    };
    let shelves = || Query::of::<Shelf>();
    assert_eq!(page(shelves().page(2, 3)).await, ("s2 s3 s4".to_owned(), 3));
    assert_eq!(page(shelves().page(2, 3).counted()).await, ("s2 s3 s4".to_owned(), 7));
    assert_eq!(page(shelves().page(6, 3).counted()).await, ("s6".to_owned(), 7));
    assert_eq!(page(shelves().page(9, 3).counted()).await, (String::new(), 7));
    assert_eq!(page(shelves().limit(0).counted()).await, (String::new(), 7));
    assert_eq!(page(shelves().limit(0)).await, (String::new(), 0));
    assert_eq!(page(shelves().contains("label", "s3").counted()).await, ("s3".to_owned(), 1));
    assert_eq!(page(shelves().page(u64::MAX, u64::MAX).counted()).await, (String::new(), 7));
    assert_eq!(shelves().limit(u64::MAX).limit, MAX_PAGE);
}

/// Whatever a client sends as a value, the answer is that nothing was found.
pub async fn survives_hostile_questions(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("shelf-1"))).await.unwrap();
    for text in ["a\0b", "' OR 1=1 --", "\u{feff}", &"%".repeat(MAX_VALUE_BYTES), &"x".repeat(100_000)] {
        assert_eq!(store.find::<Shelf>(text).await.unwrap(), None);
        assert_eq!(store.find_by::<Shelf>("label", text).await.unwrap(), None);
        assert!(ids::<Shelf>(&store, Query::of::<Shelf>().contains("label", text)).await.is_empty());
        assert_eq!(ids::<Shelf>(&store, Query::of::<Shelf>().any_of("label", [text, "shelf-1"])).await, ["shelf-1"]);
    }
    let many = (0..MAX_CHOICES).map(|number| number.to_string());
    assert!(ids::<Shelf>(&store, Query::of::<Shelf>().any_of("label", many)).await.is_empty());
}

/// A misspelt field is an error and not an empty list.
pub async fn refuses_unknown_fields(store: TheStore) {
    assert_invalid(store.query(&Query::of::<Shelf>().equals("nonsense", "")).await);
    assert_invalid(store.query(&Query::of::<Shelf>().sort(Sort::Field("nonsense"), Direction::Ascending)).await);
    assert_invalid(store.query(&Query::of::<Shelf>().any_of("id", 0..=MAX_CHOICES)).await);
}

/// A body that the type cannot read is told apart from a missing one.
pub async fn reports_an_unreadable_body(store: TheStore) {
    let strange = StoredRecord { body: json!({"label": "a", "count": "many"}), ..stored("shelf-1") };
    store.commit(Batch::new().with(Write::Insert(&SHELVES, strange))).await.unwrap();
    let error = store.find::<Shelf>("shelf-1").await.unwrap_err();
    assert!(matches!(&error, Error::Corrupt { kind: "shelves", id, .. } if id == "shelf-1"), "{error:?}");
}

/// An update gives what it wrote, and says when there is nothing to update.
pub async fn updates_and_says_what_is_missing(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("shelf-1"))).await.unwrap();
    let updated = store.update::<Shelf>("shelf-1", |shelf| Shelf { count: shelf.count + 1, ..shelf }).await.unwrap();
    assert_eq!((updated.version, updated.count), (FIRST_VERSION + 1, 1));
    assert_eq!(find::<Shelf>(&store, "shelf-1").await, updated);
    let error = store.update::<Shelf>("shelf-2", |shelf| shelf).await.unwrap_err();
    assert!(matches!(&error, Error::NotFound { kind: "shelves", id } if id == "shelf-2"), "{error:?}");
}

/// Many who count at once lose nothing.
pub async fn loses_no_update(store: TheStore) {
    const TASKS: u64 = 16;
    const ROUNDS: u64 = 8;
    store.commit(Batch::new().insert(&shelf("shelf-1"))).await.unwrap();
    let count = |store: TheStore| async move {
        for _ in 0..ROUNDS {
            store.update::<Shelf>("shelf-1", |shelf| Shelf { count: shelf.count + 1, ..shelf }).await.unwrap();
        }
    };
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(count(Arc::clone(&store)))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let counted = find::<Shelf>(&store, "shelf-1").await;
    assert_eq!((counted.count, counted.version), (TASKS * ROUNDS, FIRST_VERSION + TASKS * ROUNDS));
}

/// Batches that write the same records in another order get in each other's way, which is a conflict and no outage.
pub async fn crossed_batches_are_conflicts(store: TheStore) {
    const ROUNDS: u64 = 3;
    store.commit(Batch::new().insert(&shelf("s1")).insert(&shelf("s2"))).await.unwrap();
    let count_both = |store: TheStore, first, second| async move {
        let mut done = 0;
        while done < ROUNDS {
            let (one, other) = (find::<Shelf>(&store, first).await, find::<Shelf>(&store, second).await);
            match store.commit(counting(&one).and(counting(&other))).await {
                Ok(()) => done += 1,
                Err(Error::Conflict { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    let one = tokio::spawn(count_both(Arc::clone(&store), "s1", "s2"));
    let other = tokio::spawn(count_both(Arc::clone(&store), "s2", "s1"));
    one.await.and(other.await).unwrap();
    let counts = [find::<Shelf>(&store, "s1").await.count, find::<Shelf>(&store, "s2").await.count];
    assert_eq!(counts, [2 * ROUNDS, 2 * ROUNDS]);
}

/// Of two batches of which each writes what the other one checks, at most one succeeds.
pub async fn checks_and_writes_exclude_each_other(store: TheStore) {
    store.commit(Batch::new().insert(&shelf("s1")).insert(&shelf("s2"))).await.unwrap();
    for _ in 0..5 {
        let (one, other) = (find::<Shelf>(&store, "s1").await, find::<Shelf>(&store, "s2").await);
        let batches = [Batch::new().check(&one).and(counting(&other)), Batch::new().check(&other).and(counting(&one))];
        let [first, second] = batches.map(|batch| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(batch).await })
        });
        let results = [first.await.unwrap(), second.await.unwrap()];
        assert!(results.iter().filter(|result| result.is_ok()).count() <= 1, "{results:?}");
        assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(Error::Conflict { .. }))), "{results:?}");
    }
}

fn counting(shelf: &Versioned<Shelf>) -> Batch {
    Batch::new().update(shelf, Shelf { count: shelf.count + 1, ..shelf.record.clone() })
}

/// A shelf as it was before somebody else changed it.
async fn stale_shelf(store: &TheStore) -> Versioned<Shelf> {
    store.commit(Batch::new().insert(&shelf("shelf-1"))).await.unwrap();
    let stale = find::<Shelf>(store, "shelf-1").await;
    store.commit(Batch::new().update(&stale, Shelf { count: 1, ..stale.record.clone() })).await.unwrap();
    stale
}

fn stored(id: &str) -> StoredRecord {
    StoredRecord { id: id.to_owned(), created_at: Timestamp::from_millis(1), version: FIRST_VERSION, body: json!({}) }
}

async fn find<T: Record>(store: &TheStore, id: &str) -> Versioned<T> {
    store.find(id).await.unwrap().expect("the record exists")
}

async fn list<T: Record>(store: &TheStore, query: Query) -> Vec<T> {
    store.list::<T>(query).await.unwrap().items.into_iter().map(Versioned::into_record).collect()
}

async fn ids<T: Record>(store: &TheStore, query: Query) -> Vec<String> {
    list::<T>(store, query).await.iter().map(|record| record.key().to_owned()).collect()
}

#[track_caller]
fn assert_conflict(result: Result<()>, expected: &str) {
    assert!(matches!(&result, Err(Error::Conflict { id, .. }) if id == expected), "{result:?}");
}

#[track_caller]
fn assert_already_exists(result: Result<()>, expected: &str) {
    assert!(matches!(&result, Err(Error::AlreadyExists { kind }) if *kind == expected), "{result:?}");
}

#[track_caller]
fn assert_dangling(result: Result<()>, expected: &str) {
    assert!(matches!(&result, Err(Error::Dangling { kind }) if *kind == expected), "{result:?}");
}

#[track_caller]
fn assert_invalid<T: std::fmt::Debug>(result: Result<T>) {
    assert!(matches!(&result, Err(Error::Invalid { .. })), "{result:?}");
}
