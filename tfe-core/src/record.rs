//! What can be stored: a kind with named fields, and records of it.
//!
//! A kind says once which parts of a body can be filtered, must be unique, or refer to another kind. Every store,
//! the in-memory reference and the SQL one, takes its behaviour from this description, and the SQL schema is derived
//! from it: there is no second list to keep in step.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{secret::Sealed, time::Timestamp};

/// Whether a value holds a NUL character in a text or a key, which no text of PostgreSQL can: such a body is stored nowhere, so that
/// every store takes the same.
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(entries) => entries.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A family of records, one table in a database.
#[derive(Debug)]
pub struct Kind {
    /// Plural, in snake case: the table's name.
    pub name: &'static str,
    /// The fields that lists can filter and sort on.
    pub fields: &'static [Field],
    /// Groups of fields whose values together occur once; a missing value is never equal to another.
    pub unique: &'static [&'static [&'static str]],
    /// Groups of fields by which large lists are read, in this order.
    pub indexes: &'static [&'static [&'static str]],
    /// Where the bodies hold sealed values.
    pub seals: &'static [Seal],
}

/// A sealed value in a record's body, and what the vault authenticates it with. It is said here once, so that those
/// who seal, open, seal anew or move values to another vault cannot differ in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Where in the body the value is; it may be missing or null.
    pub path: &'static [&'static str],
    /// The context, in which `{id}` stands for the record's id.
    pub context: &'static str,
}

/// One queryable part of a record's body. Its value must be a JSON string or null, since databases disagree on others.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The column's name.
    pub name: &'static str,
    /// Where in the body the value is.
    pub path: &'static [&'static str],
    /// The kind whose id this is; deleting that record deletes this one.
    pub refers: Option<&'static str>,
}

/// A type that can be stored.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its kind.
    const KIND: &'static Kind;

    /// Its id, unique in the kind.
    fn key(&self) -> &str;

    /// When it was made; the order of lists.
    fn created_at(&self) -> Timestamp;
}

impl Field {
    /// A field at the top of the body: `Field::at("name", &["name"])`.
    pub const fn at(name: &'static str, path: &'static [&'static str]) -> Self {
        Self { name, path, refers: None }
    }

    /// The same, as a reference to the id of a record of another kind.
    pub const fn refers(name: &'static str, path: &'static [&'static str], kind: &'static str) -> Self {
        Self { name, path, refers: Some(kind) }
    }

    /// The value in a body.
    pub fn value<'b>(&self, body: &'b serde_json::Value) -> Option<&'b str> {
        self.path.iter().try_fold(body, |value, key| value.get(key)).and_then(serde_json::Value::as_str)
    }
}

impl Seal {
    /// What the vault authenticates the value of the record with that id with.
    pub fn context(&self, id: impl fmt::Display) -> String {
        self.context.replace("{id}", &id.to_string())
    }

    /// The sealed value in a body, if there is one.
    pub fn value(&self, body: &serde_json::Value) -> Option<Sealed> {
        let text = self.path.iter().try_fold(body, |value, key| value.get(key))?.as_str()?;
        Some(Sealed::new(text.to_owned()))
    }

    /// Puts another sealed value in the place of the present one.
    pub fn replace(&self, body: &mut serde_json::Value, sealed: &Sealed) {
        if let Some(value) = self.path.iter().try_fold(body, |value, key| value.get_mut(key)) {
            *value = sealed.as_str().into();
        }
    }
}

impl Kind {
    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// Declares [`Record`] for a type with `id` and `created_at`: its kind in a few lines, and its id's prefix.
#[macro_export]
macro_rules! record {
    ($type:ty, $kind:ident = $name:literal, prefix: $prefix:literal,
     fields: [$($field:expr),* $(,)?], unique: [$($unique:expr),* $(,)?], indexes: [$($index:expr),* $(,)?]
     $(, seals: [$($seal:expr),* $(,)?])?) => {
        #[doc = concat!("The kind `", $name, "`.")]
        pub static $kind: $crate::record::Kind = $crate::record::Kind {
            name: $name,
            fields: &[$($field),*],
            unique: &[$($unique),*],
            indexes: &[$($index),*],
            seals: &[$($($seal),*)?],
        };

        impl $crate::id::Identified for $type {
            const PREFIX: &'static str = $prefix;
        }

        impl $crate::record::Record for $type {
            const KIND: &'static $crate::record::Kind = &$kind;

            fn key(&self) -> &str {
                self.id.as_str()
            }

            fn created_at(&self) -> $crate::time::Timestamp {
                self.created_at
            }
        }
    };
}
