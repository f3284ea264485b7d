//! JSON:API documents, made flat: attributes, `id`, and for each relationship to one resource `<name>-id`.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
    #[serde(default)]
    meta: Value,
}

#[derive(Deserialize)]
struct Resource {
    id: String,
    #[serde(default)]
    attributes: Map<String, Value>,
    #[serde(default)]
    relationships: Map<String, Value>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: Option<String>,
}

impl ErrorObject {
    fn text(&self) -> String {
        match self.detail.as_deref().filter(|detail| !detail.is_empty() && *detail != self.title) {
            Some(detail) if self.title.is_empty() => detail.to_owned(),
            Some(detail) => format!("{}: {detail}", self.title),
            None => self.title.clone(),
        }
    }
}

/// Reads a document with one resource.
pub(crate) fn one<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    let envelope: Envelope<Resource> = serde_json::from_slice(body)?;
    flat(envelope.data)
}

/// Reads a document with a list, and the number of the page after it.
pub(crate) fn many<T: DeserializeOwned>(body: &[u8]) -> Result<(Vec<T>, Option<u64>), serde_json::Error> {
    let envelope: Envelope<Vec<Resource>> = serde_json::from_slice(body)?;
    let next = envelope.meta.pointer("/pagination/next-page").and_then(Value::as_u64);
    let items: Result<Vec<T>, _> = envelope.data.into_iter().map(flat).collect();
    Ok((items?, next))
}

/// The reasons in a document with errors, or none if it is no such document.
pub(crate) fn reasons(body: &[u8]) -> Option<String> {
    let errors: Errors = serde_json::from_slice(body).ok()?;
    Some(errors.errors.iter().map(ErrorObject::text).collect::<Vec<_>>().join("; "))
}

fn flat<T: DeserializeOwned>(resource: Resource) -> Result<T, serde_json::Error> {
    // A null stands for an absent attribute here, so that both read as the default.
    let mut fields: Map<_, _> = resource.attributes.into_iter().filter(|(_, value)| !value.is_null()).collect();
    for (name, relationship) in resource.relationships {
        if let Some(id) = relationship.pointer("/data/id") {
            fields.insert(format!("{name}-id"), id.clone());
        }
    }
    fields.insert("id".to_owned(), resource.id.into());
    serde_json::from_value(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use crate::model::Run;

    #[test]
    fn a_resource_is_read_with_its_relationships_and_without_its_nulls() {
        let body = br#"{"data":{"id":"run-1","type":"runs","attributes":{"status":"planned","message":null,"new":1},
            "relationships":{"plan":{"data":{"id":"plan-1","type":"plans"}},"task-stages":{"data":[]}}}}"#;
        let run: Run = super::one(body).unwrap();
        assert_eq!((run.id.as_str(), run.plan_id.as_deref(), run.message.as_str()), ("run-1", Some("plan-1"), ""));
    }

    #[test]
    fn errors_give_their_titles_and_details() {
        let body = br#"{"errors":[{"status":"422","title":"invalid attribute","detail":"Name can't be blank"},{"title":"x"}]}"#;
        assert_eq!(super::reasons(body).as_deref(), Some("invalid attribute: Name can't be blank; x"));
        assert_eq!(super::reasons(b"<html>"), None);
    }
}
