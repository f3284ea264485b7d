//! JSON:API documents, as much of them as the protocol uses (jsonapi.org, version 1.0).
//!
//! Resources are built by name, attributes come from plain serde structs, and requests are read into the same structs:
//! wrong values come back as [`Invalid`](crate::error::Invalid) with the pointer to the value. There is no macro and
//! no schema language; the types are the schema.

mod document;
mod input;
mod page;

pub use self::{
    document::{Document, ErrorObject, Errors, Linkage, Resource},
    input::{Input, attributes, patched},
    page::{DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Page},
};

/// The media type of documents.
pub const MEDIA_TYPE: &str = "application/vnd.api+json";
