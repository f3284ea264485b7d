//! What is sent.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Page;
use crate::error::Invalid;

/// A resource with its attributes and links to others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resource {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    attributes: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    relationships: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    links: Map<String, Value>,
}

/// The name of a resource: type and id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linkage {
    /// The type, plural.
    pub kind: &'static str,
    /// The id.
    pub id: String,
}

/// One resource or a list, with what they include.
#[derive(Debug, Clone, Serialize)]
pub struct Document {
    data: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    included: Vec<Resource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<Value>,
}

/// A list of errors.
#[derive(Debug, Clone, Serialize)]
pub struct Errors {
    /// At least one.
    pub errors: Vec<ErrorObject>,
}

/// One error. The status is a string: go-tfe cannot decode a number and would lose the whole text.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorObject {
    /// The HTTP status.
    pub status: String,
    /// What kind of error.
    pub title: String,
    /// What happened and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Where in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Value>,
}

impl Linkage {
    /// Names a resource.
    pub fn to(kind: &'static str, id: impl ToString) -> Self {
        Self { kind, id: id.to_string() }
    }

    fn value(&self) -> Value {
        json!({ "id": self.id, "type": self.kind })
    }
}

impl Resource {
    /// A resource without attributes yet.
    pub fn new(kind: &'static str, id: impl ToString) -> Self {
        Self { id: id.to_string(), kind, attributes: Map::new(), relationships: Map::new(), links: Map::new() }
    }

    /// Adds all fields of a struct as attributes.
    #[must_use]
    pub fn attributes(mut self, fields: &impl Serialize) -> Self {
        if let Ok(Value::Object(fields)) = serde_json::to_value(fields) {
            self.attributes.extend(fields);
        }
        self
    }

    /// Adds one attribute.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.to_owned(), value.into());
        self
    }

    /// Links to one resource.
    #[must_use]
    pub fn one(self, name: &str, linkage: &Linkage) -> Self {
        self.relationship(name, json!({ "data": linkage.value() }))
    }

    /// Links to one resource, or says that there is none.
    #[must_use]
    pub fn maybe(self, name: &str, linkage: Option<Linkage>) -> Self {
        self.relationship(name, json!({ "data": linkage.map(|linkage| linkage.value()) }))
    }

    /// Links to many resources.
    #[must_use]
    pub fn many(self, name: &str, linkages: impl IntoIterator<Item = Linkage>) -> Self {
        let data: Vec<Value> = linkages.into_iter().map(|linkage| linkage.value()).collect();
        self.relationship(name, json!({ "data": data }))
    }

    /// Says where related resources are, without naming them.
    #[must_use]
    pub fn related(self, name: &str, path: String) -> Self {
        self.relationship(name, json!({ "links": { "related": path } }))
    }

    /// Adds a link of the resource itself.
    #[must_use]
    pub fn link(mut self, name: &str, target: impl Into<Value>) -> Self {
        self.links.insert(name.to_owned(), target.into());
        self
    }

    /// Its name.
    pub fn linkage(&self) -> Linkage {
        Linkage::to(self.kind, &self.id)
    }

    fn relationship(mut self, name: &str, value: Value) -> Self {
        match self.relationships.get_mut(name).and_then(Value::as_object_mut) {
            Some(present) => present.extend(value.as_object().cloned().unwrap_or_default()),
            None => drop(self.relationships.insert(name.to_owned(), value)),
        }
        self
    }
}

impl Document {
    /// One resource.
    pub fn one(resource: &Resource) -> Self {
        Self { data: json!(resource), included: Vec::new(), links: None, meta: None }
    }

    /// All of a list.
    pub fn all(resources: &[Resource]) -> Self {
        Self { data: json!(resources), included: Vec::new(), links: None, meta: None }
    }

    /// A page of a list of `total`, reachable under `url` (with its query, without the page's number).
    pub fn page(resources: &[Resource], page: Page, total: u64, url: &str) -> Self {
        let meta = json!({ "pagination": page.meta(total) });
        Self { data: json!(resources), included: Vec::new(), links: Some(page.links(total, url)), meta: Some(meta) }
    }

    /// Adds resources that the data links to; each once.
    #[must_use]
    pub fn including(mut self, resources: impl IntoIterator<Item = Resource>) -> Self {
        for resource in resources {
            if !self.included.iter().any(|present| present.linkage() == resource.linkage()) {
                self.included.push(resource);
            }
        }
        self
    }
}

impl Errors {
    /// One error.
    pub fn one(status: u16, title: &str, detail: Option<String>) -> Self {
        let error = ErrorObject { status: status.to_string(), title: title.to_owned(), detail, source: None };
        Self { errors: vec![error] }
    }

    /// A wrong request.
    pub fn invalid(invalid: &Invalid) -> Self {
        let mut errors = Self::one(422, "invalid attribute", Some(invalid.detail.clone()));
        if !invalid.pointer.is_empty() {
            errors.errors[0].source = Some(json!({ "pointer": invalid.pointer }));
        }
        errors
    }
}
