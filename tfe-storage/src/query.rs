//! Which records to read, in which order.

use std::fmt::Display;

use tfe_core::record::{Kind, Record};

use crate::error::{Error, Result};

/// Most records in one page: a thousand bodies of a few kilobytes are a few megabytes in memory. Larger limits are cut to it.
pub const MAX_PAGE: u64 = 1_000;
/// Most values in one `any_of`: far below the 32,766 parameters that a statement of `SQLite` may have.
pub const MAX_CHOICES: usize = 5_000;
/// Longest value of a filter in bytes; a longer one matches nothing. `SQLite` refuses patterns over 50,000 bytes.
pub const MAX_VALUE_BYTES: usize = 4_096;

/// Which records of one kind to read. Filters are combined with "and"; a field is the name of one of the kind's
/// fields, or `id`.
#[derive(Debug, Clone)]
#[must_use = "a query does nothing until a store runs it"]
pub struct Query {
    /// Whose records.
    pub kind: &'static Kind,
    /// What they must fulfil.
    pub filters: Vec<Filter>,
    /// By what they are ordered; ties are ordered by id.
    pub sort: Sort,
    /// Which end comes first.
    pub direction: Direction,
    /// How many to skip.
    pub offset: u64,
    /// How many to give, at most [`MAX_PAGE`].
    pub limit: u64,
    /// Whether to count all that fulfil the filters.
    pub counted: bool,
}

/// A condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// The field has this value.
    Equals(&'static str, String),
    /// The field has one of these values.
    AnyOf(&'static str, Vec<String>),
    /// The field contains this text; ASCII letters match in either case.
    Contains(&'static str, String),
    /// The field is missing or null.
    IsNull(&'static str),
    /// The field's value comes after this one, by their bytes: what a walk through all records goes on with.
    After(&'static str, String),
}

/// By what records are ordered. Texts are ordered by their bytes, missing ones before all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// By the time they were made.
    #[default]
    Created,
    /// By a field.
    Field(&'static str),
    /// By id.
    Id,
}

/// Which end of the order comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Smallest or oldest first.
    #[default]
    Ascending,
    /// Largest or newest first: the exact reverse, ties included.
    Descending,
}

impl Query {
    /// The first page of all records of the type, oldest first.
    pub fn of<T: Record>() -> Self {
        Self::new(T::KIND)
    }

    /// The first page of all records of the kind, oldest first.
    pub fn new(kind: &'static Kind) -> Self {
        let (sort, direction) = (Sort::default(), Direction::default());
        Self { kind, filters: Vec::new(), sort, direction, offset: 0, limit: MAX_PAGE, counted: false }
    }

    /// The records of the kind that come after an id, by id: a step of a walk through all of them.
    pub fn by_id(kind: &'static Kind, after: Option<&str>, limit: u64) -> Self {
        let query = Self::new(kind).sort(Sort::Id, Direction::Ascending).limit(limit);
        match after {
            Some(id) => query.after("id", id),
            None => query,
        }
    }

    /// Only those with this value.
    pub fn equals(self, field: &'static str, value: impl Display) -> Self {
        self.filter(Filter::Equals(field, value.to_string()))
    }

    /// Only those with one of these values.
    pub fn any_of<V: Display>(self, field: &'static str, values: impl IntoIterator<Item = V>) -> Self {
        self.filter(Filter::AnyOf(field, values.into_iter().map(|value| value.to_string()).collect()))
    }

    /// Only those that contain the text; ASCII letters match in either case.
    pub fn contains(self, field: &'static str, text: impl Display) -> Self {
        self.filter(Filter::Contains(field, text.to_string()))
    }

    /// Only those without a value.
    pub fn is_null(self, field: &'static str) -> Self {
        self.filter(Filter::IsNull(field))
    }

    /// Only those whose value comes after this one.
    pub fn after(self, field: &'static str, value: impl Display) -> Self {
        self.filter(Filter::After(field, value.to_string()))
    }

    /// Only those that fulfil this too.
    pub fn filter(mut self, mut filter: Filter) -> Self {
        if let Filter::AnyOf(_, values) = &mut filter {
            values.retain(|value| !is_hopeless(value));
        }
        self.filters.push(filter);
        self
    }

    /// In another order.
    pub fn sort(self, sort: Sort, direction: Direction) -> Self {
        Self { sort, direction, ..self }
    }

    /// Skips `offset` records and gives at most `limit`.
    pub fn page(self, offset: u64, limit: u64) -> Self {
        Self { offset, limit: limit.min(MAX_PAGE), ..self }
    }

    /// Gives at most `limit` records.
    pub fn limit(self, limit: u64) -> Self {
        Self { limit: limit.min(MAX_PAGE), ..self }
    }

    /// Counts all that fulfil the filters; costs a second read.
    pub fn counted(self) -> Self {
        Self { counted: true, ..self }
    }

    /// For stores: checks the rules that hold for every backend.
    pub fn check(&self) -> Result<()> {
        let sorted = if let Sort::Field(name) = self.sort { Some(name) } else { None };
        for name in self.filters.iter().map(Filter::field).chain(sorted) {
            if name != "id" && self.kind.field(name).is_none() {
                return Err(self.invalid(format!("there is no field {name}")));
            }
        }
        let crowded = |filter: &Filter| matches!(filter, Filter::AnyOf(_, values) if values.len() > MAX_CHOICES);
        if self.filters.iter().any(crowded) {
            return Err(self.invalid(format!("a filter has at most {MAX_CHOICES} values")));
        }
        Ok(())
    }

    /// For stores: whether a filter cannot be fulfilled by any record, so that the backend need not be asked.
    /// No record holds a NUL, and `PostgreSQL` refuses it even in a question.
    pub fn matches_nothing(&self) -> bool {
        self.limit == 0 && !self.counted || self.filters.iter().any(Filter::matches_nothing)
    }

    fn invalid(&self, reason: String) -> Error {
        Error::Invalid { kind: self.kind.name, reason }
    }
}

impl Filter {
    /// The field's name, or `id`.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Equals(field, _) | Self::AnyOf(field, _) | Self::Contains(field, _) | Self::IsNull(field) | Self::After(field, _) => {
                field
            }
        }
    }

    /// Whether a field with this value fulfils the condition.
    pub fn accepts(&self, value: Option<&str>) -> bool {
        match self {
            Self::Equals(_, wanted) => value == Some(wanted),
            Self::AnyOf(_, wanted) => value.is_some_and(|value| wanted.iter().any(|one| one == value)),
            Self::Contains(_, text) => value.is_some_and(|value| value.to_ascii_lowercase().contains(&text.to_ascii_lowercase())),
            Self::IsNull(_) => value.is_none(),
            Self::After(_, bound) => value.is_some_and(|value| value > bound.as_str()),
        }
    }

    fn matches_nothing(&self) -> bool {
        match self {
            Self::Equals(_, value) | Self::Contains(_, value) | Self::After(_, value) => is_hopeless(value),
            Self::AnyOf(_, values) => values.is_empty(),
            Self::IsNull(_) => false,
        }
    }
}

/// Whether no record can match the value, by the rules of [`Query::matches_nothing`].
fn is_hopeless(value: &str) -> bool {
    value.contains('\0') || value.len() > MAX_VALUE_BYTES
}
