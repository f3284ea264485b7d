//! Named points at which a program can be made to die, so that tests see what a death right there leaves behind.
//!
//! A program that was built with debug assertions and that finds `NAME=PATH` in [`VARIABLE`] aborts when it gets to the point of that
//! name: no destructor runs and nothing is flushed, as when it is killed. Before that it writes the name into a new file at the path,
//! so that a test knows that the point was reached. It dies once: whoever finds such a file goes on, so that a process that
//! follows with the same environment can do to its end what the first one began.
//!
//! Release builds hold none of this, so the variable is no setting.

use std::{fs::File, io::Write};

/// The variable of the environment that says where to die.
pub const VARIABLE: &str = "TFE_FAIL_POINT";

/// A point at which a program can be made to die. Made by [`fail_points`](crate::fail_points), which lists it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailPoint {
    name: &'static str,
}

impl FailPoint {
    /// The point of that name.
    pub const fn named(name: &'static str) -> Self {
        Self { name }
    }

    /// Its name: what is done, and how far it is.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Dies, if it was asked to die here.
    pub fn reach(self) {
        if cfg!(debug_assertions) && self.is_asked_for() {
            die(self.name);
        }
    }

    /// Whether it was asked to die here, for points that cost something to watch for.
    pub fn is_asked_for(self) -> bool {
        cfg!(debug_assertions) && asked().is_some_and(|(name, _)| name == self.name)
    }
}

/// Declares points, and the list of all of them: tests go through the list, so that none is there without a test.
#[macro_export]
macro_rules! fail_points {
    ($(#[$about:meta])* $list:ident: $($(#[$doc:meta])* $point:ident = $name:literal),* $(,)?) => {
        $($(#[$doc])* pub const $point: $crate::fail_point::FailPoint = $crate::fail_point::FailPoint::named($name);)*
        $(#[$about])* pub const $list: &[$crate::fail_point::FailPoint] = &[$($point),*];
    };
}

fail_points! {
    /// The steps of a rotation of the key, in their order, for a keyring in a file.
    ROTATION:
    /// There is a new key in memory.
    ROTATION_MADE = "rotation.made",
    /// It is on the disk, in a draft beside the keyring.
    ROTATION_DRAFTED = "rotation.drafted",
    /// The draft is the keyring; the directory that says so may not be on the disk.
    ROTATION_RENAMED = "rotation.renamed",
    /// The new keyring is safe, and nothing was sealed with it.
    ROTATION_WRITTEN = "rotation.written",
    /// The new key seals, and nobody was told.
    ROTATION_USED = "rotation.used",
}

fail_points! {
    /// The steps of sealing everything anew, in their order.
    RESEALING:
    /// It is noted that it begins.
    RESEALING_BEGUN = "resealing.begun",
    /// A record was sealed anew, others of its page were not.
    RESEALING_RECORD = "resealing.record",
    /// A page was done, which is not noted.
    RESEALING_PAGE = "resealing.page",
    /// That is noted, and more is to do.
    RESEALING_NOTED = "resealing.noted",
}

fail_points! {
    /// The steps in which an `SQLite` file gets its schema, in their order.
    MIGRATION:
    /// There is a file.
    MIGRATION_CREATED = "migration.created",
    /// The database is open, as it was.
    MIGRATION_OPENED = "migration.opened",
    /// A part was added and noted, others are missing.
    MIGRATION_ADDING = "migration.adding",
    /// All are there, and not committed.
    MIGRATION_COMMITTING = "migration.committing",
    /// They are committed, and nothing was done with them.
    MIGRATION_COMMITTED = "migration.committed",
}

fn asked() -> Option<(String, String)> {
    let text = std::env::var(VARIABLE).ok()?;
    let (name, path) = text.split_once('=')?;
    Some((name.to_owned(), path.to_owned()))
}

fn die(name: &str) {
    let Some((_, path)) = asked() else { return };
    // One that is there says that somebody died already.
    let Ok(mut file) = File::create_new(path) else { return };
    // Without its name in it the test fails, which is all that can be done about it here.
    let _ = file.write_all(name.as_bytes());
    std::process::abort();
}
