//! What every queue and all coordination must do, as one function per promise.
//!
//! The macros [`queue_conformance!`](crate::queue_conformance), [`signals_conformance!`](crate::signals_conformance),
//! [`cache_conformance!`](crate::cache_conformance) and [`counters_conformance!`](crate::counters_conformance) make a
//! test of each. By itself a test runs with a paused clock, which suits backends in memory; after `real_time:` it waits
//! for real, and is skipped where the expression gives `None`.

mod coordination;
mod queue;
mod signals;

use std::time::Duration;

pub use coordination::*;
pub use queue::*;
pub use signals::*;

const NOW: Duration = Duration::ZERO;
const SECOND: Duration = Duration::from_secs(1);

/// Makes a test of every promise of a queue. `$open` is an expression that gives an empty one, or after `real_time:`
/// an `Option` of a pointer to one.
#[macro_export]
macro_rules! queue_conformance {
    ($($open:tt)*) => {
        $crate::conformance!([delivers_a_hint_once, gives_at_most_what_was_asked_for, keeps_a_delayed_hint_back,
            wakes_a_waiting_receiver, returns_empty_after_the_wait, delivers_an_unacknowledged_hint_again,
            delivers_a_retried_hint_again, ignores_a_late_acknowledgement, forgets_no_hint] $($open)*);
    };
}

/// Makes a test of every promise of signals. `$open` is as for [`queue_conformance!`](crate::queue_conformance).
#[macro_export]
macro_rules! signals_conformance {
    ($($open:tt)*) => {
        $crate::conformance!([wakes_every_watch_of_the_topic, keeps_a_notice_from_before_the_wait, does_not_wake_other_topics,
            forgets_a_notice_that_was_seen] $($open)*);
    };
}

/// Makes a test of every promise of a cache. `$open` is as for [`queue_conformance!`](crate::queue_conformance).
#[macro_export]
macro_rules! cache_conformance {
    ($($open:tt)*) => {
        $crate::conformance!([keeps_a_value_for_its_time, replaces_a_value, removes_a_value, refuses_a_value_that_is_too_large]
            $($open)*);
    };
}

/// Makes a test of every promise of counters. `$open` is as for [`queue_conformance!`](crate::queue_conformance).
#[macro_export]
macro_rules! counters_conformance {
    ($($open:tt)*) => {
        $crate::conformance!([counts_within_a_window, counts_each_key_by_itself, counts_every_call_once] $($open)*);
    };
}

/// What the other macros share.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance {
    ([$($name:ident),*] real_time: $open:expr) => {
        $crate::conformance!(@each $open; $($name),*);
    };
    (@each $open:expr; $($name:ident),*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            if let Some(backend) = $open {
                $crate::testing::$name(&*backend).await;
            }
        })*
    };
    ([$($name:ident),*] $open:expr) => {
        $crate::conformance!(@paused $open; $($name),*);
    };
    (@paused $open:expr; $($name:ident),*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            $crate::testing::$name(&$open).await;
        })*
    };
}
