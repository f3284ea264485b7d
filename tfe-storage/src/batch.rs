//! What a commit does: writes that happen together or not at all.

use std::borrow::Borrow;

use serde_json::Value;
use tfe_core::record::{Field, Kind, Record, has_nul};

use crate::{
    error::{Error, Result},
    store::{FIRST_VERSION, StoredRecord, Versioned},
};

/// Most writes in one batch: a batch holds up `SQLite`'s only writer, and ten thousand writes take about a second.
pub const MAX_WRITES: usize = 10_000;
/// Longest value, in bytes, of a field in a unique group or index: `PostgreSQL` allows 2,704 bytes for a whole entry.
pub const MAX_INDEXED_BYTES: usize = 1_024;

/// Writes that happen together or not at all, in this order.
#[derive(Debug, Clone, Default)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    writes: Vec<Write>,
}

/// One write of a batch. Those with a version fail with [`Error::Conflict`] unless the record is at that version.
#[derive(Debug, Clone)]
pub enum Write {
    /// Adds a record, which begins at [`FIRST_VERSION`].
    Insert(&'static Kind, StoredRecord),
    /// Replaces the body of the record of that id and version, and raises its version by one.
    Update(&'static Kind, StoredRecord),
    /// Deletes the record and all that refer to it.
    Delete {
        /// Kind of the record.
        kind: &'static Kind,
        /// Id of the record.
        id: String,
        /// The version it must have.
        version: u64,
    },
    /// Writes nothing and only requires the version.
    Check {
        /// Kind of the record.
        kind: &'static Kind,
        /// Id of the record.
        id: String,
        /// The version it must have.
        version: u64,
    },
}

impl Batch {
    /// An empty batch; committing it does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record.
    pub fn insert<T: Record>(self, record: &T) -> Self {
        self.with(Write::Insert(T::KIND, stored(record, FIRST_VERSION)))
    }

    /// Replaces `current` by `next`, which must have the same id.
    pub fn update<T: Record>(self, current: &Versioned<T>, next: impl Borrow<T>) -> Self {
        let next = next.borrow();
        debug_assert_eq!(current.key(), next.key(), "an update keeps the id");
        self.with(Write::Update(T::KIND, stored(next, current.version)))
    }

    /// Deletes `current` and all that refer to it.
    pub fn delete<T: Record>(self, current: &Versioned<T>) -> Self {
        self.with(Write::Delete { kind: T::KIND, id: current.key().to_owned(), version: current.version })
    }

    /// Requires that `current` is still the newest version when the batch is committed.
    pub fn check<T: Record>(self, current: &Versioned<T>) -> Self {
        self.with(Write::Check { kind: T::KIND, id: current.key().to_owned(), version: current.version })
    }

    /// This batch followed by `other`, as one.
    pub fn and(mut self, other: Batch) -> Self {
        self.writes.extend(other.writes);
        self
    }

    /// This batch followed by one more write.
    pub fn with(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// The writes, in order.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// For stores: checks the rules that hold for every backend, and gives the writes.
    pub fn into_checked(self) -> Result<Vec<Write>> {
        if let Some(first) = self.writes.first()
            && self.writes.len() > MAX_WRITES
        {
            return Err(invalid(first.kind(), format!("a batch has at most {MAX_WRITES} writes")));
        }
        for write in &self.writes {
            check_id(write.kind(), write.id())?;
            if let Write::Insert(kind, record) | Write::Update(kind, record) = write {
                check_record(kind, record)?;
            }
        }
        Ok(self.writes)
    }
}

impl Write {
    /// The kind of the record.
    pub fn kind(&self) -> &'static Kind {
        match self {
            Self::Insert(kind, _) | Self::Update(kind, _) | Self::Delete { kind, .. } | Self::Check { kind, .. } => kind,
        }
    }

    /// The id of the record.
    pub fn id(&self) -> &str {
        match self {
            Self::Insert(_, record) | Self::Update(_, record) => &record.id,
            Self::Delete { id, .. } | Self::Check { id, .. } => id,
        }
    }
}

impl Extend<Write> for Batch {
    fn extend<I: IntoIterator<Item = Write>>(&mut self, writes: I) {
        self.writes.extend(writes);
    }
}

fn stored<T: Record>(record: &T, version: u64) -> StoredRecord {
    let body = serde_json::to_value(record).expect("records are structs with text keys, which always become JSON");
    StoredRecord { id: record.key().to_owned(), created_at: record.created_at(), version, body }
}

fn check_id(kind: &'static Kind, id: &str) -> Result<()> {
    if id.len() > MAX_INDEXED_BYTES || id.contains('\0') {
        return Err(invalid(kind, format!("the id has more than {MAX_INDEXED_BYTES} bytes or holds a NUL character")));
    }
    Ok(())
}

fn check_record(kind: &'static Kind, record: &StoredRecord) -> Result<()> {
    if has_nul(&record.body) {
        return Err(invalid(kind, "the body holds a NUL character, which PostgreSQL cannot store".to_owned()));
    }
    kind.fields.iter().try_for_each(|field| check_field(kind, field, &record.body))
}

fn check_field(kind: &'static Kind, field: &Field, body: &Value) -> Result<()> {
    let value = field.path.iter().try_fold(body, |value, key| value.get(key)).unwrap_or(&Value::Null);
    let indexed = || field.refers.is_some() || kind.unique.iter().chain(kind.indexes).any(|group| group.contains(&field.name));
    match value {
        Value::Null => Ok(()),
        Value::String(text) if text.len() <= MAX_INDEXED_BYTES || !indexed() => Ok(()),
        Value::String(_) => Err(invalid(kind, format!("{} has more than {MAX_INDEXED_BYTES} bytes", field.name))),
        _ => Err(invalid(kind, format!("{} is neither a text nor null", field.name))),
    }
}

fn invalid(kind: &'static Kind, reason: String) -> Error {
    Error::Invalid { kind: kind.name, reason }
}
