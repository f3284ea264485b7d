//! What every backend must do, as one function per promise.
//!
//! A backend's tests are one line: `store_conformance!(with_store)`, where `with_store` is an async function that
//! makes an empty store, runs the test that it is given, and cleans up whatever happens:
//!
//! ```
//! use std::sync::Arc;
//! use tfe_storage::{MemoryStore, Store};
//!
//! async fn with_store(test: impl AsyncFnOnce(Arc<dyn Store>)) {
//!     test(Arc::new(MemoryStore::new())).await;
//! }
//! tfe_storage::store_conformance!(with_store);
//! ```
//!
//! The store must have been opened with [`kinds::ALL`].

pub mod blobs;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub mod explaining;
pub mod faulty;
pub mod kinds;
pub mod model;
pub mod proxy;
pub mod store;
pub mod vault;

/// Makes a test of every promise of a [`Store`](crate::Store).
#[macro_export]
macro_rules! store_conformance {
    ($with_store:path) => {
        $crate::conformance_tests!($with_store, store;
            finds_what_was_inserted, keeps_a_view_as_it_was, keeps_a_body_as_it_is, refuses_a_taken_id, refuses_a_taken_unique_value,
            allows_missing_unique_values, compares_unique_groups_as_a_whole, refuses_a_dangling_reference,
            refuses_a_changed_reference_that_dangles, deletes_what_refers, deletes_what_refers_to_itself,
            refuses_a_stale_update, refuses_a_stale_delete, refuses_a_stale_check, a_check_writes_nothing,
            commits_all_or_nothing, sees_earlier_writes_of_a_batch, allows_an_empty_batch, refuses_what_no_store_can_keep,
            filters, filters_by_text_literally, filters_by_nested_fields, orders_by_bytes, orders_missing_values_first,
            breaks_ties_by_id, pages_and_counts, survives_hostile_questions, refuses_unknown_fields,
            reports_an_unreadable_body, updates_and_says_what_is_missing, loses_no_update,
            crossed_batches_are_conflicts, checks_and_writes_exclude_each_other);
        $crate::conformance_tests!($with_store, model; behaves_like_the_reference);
    };
}

/// Makes a test of every promise of a [`Vault`](crate::Vault).
#[macro_export]
macro_rules! vault_conformance {
    ($with_vault:path) => {
        $crate::conformance_tests!($with_vault, vault;
            opens_what_it_sealed, never_seals_twice_alike, shows_nothing, refuses_another_context,
            refuses_every_changed_character, refuses_foreign_values, rotates_and_rewraps);
    };
}

/// Makes a test of every promise of [`Blobs`](crate::Blobs) in some object store. The function gives the blobs and
/// the object store that they are in.
#[macro_export]
macro_rules! blobs_conformance {
    ($with_blobs:path) => {
        $crate::conformance_tests!($with_blobs, blobs;
            reads_what_was_put, reads_every_range, knows_size_and_digests, refuses_content_over_the_limit,
            keeps_nothing_of_interrupted_content, deletes, stores_no_plain_text, detects_every_flipped_bit,
            detects_every_cut, detects_a_swapped_object, reads_from_the_middle_of_large_content);
    };
}

/// One test for each of the named functions of a suite.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($with:path, $suite:ident; $($name:ident),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $with($crate::testing::$suite::$name).await;
        })+
    };
}
