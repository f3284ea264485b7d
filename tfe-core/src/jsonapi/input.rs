//! What is received.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::error::Invalid;

/// The `data` of a request: a resource without promises. Its type is not checked, since clients send it empty.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Input {
    /// The id, where the client names one.
    #[serde(default)]
    pub id: Option<String>,
    /// The type.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// What to set; see [`attributes`] and [`patched`].
    #[serde(default)]
    pub attributes: Value,
    #[serde(default)]
    relationships: Map<String, Value>,
}

#[derive(Deserialize)]
struct Body<T> {
    data: T,
}

impl Input {
    /// Reads a document with one resource. An empty body is a resource that says nothing.
    pub fn parse(body: &[u8]) -> Result<Self, Invalid> {
        if body.trim_ascii().is_empty() || body.trim_ascii() == b"{}" {
            return Ok(Self::default());
        }
        parse_body(body)
    }

    /// Reads a document with a list of resources.
    pub fn parse_list(body: &[u8]) -> Result<Vec<Self>, Invalid> {
        parse_body(body)
    }

    /// The id that the relationship names; none if it is absent or null.
    pub fn one(&self, name: &str) -> Option<String> {
        self.relationships.get(name)?.get("data")?.get("id")?.as_str().map(str::to_owned)
    }

    /// Whether the relationship is spoken of at all.
    pub fn names(&self, relationship: &str) -> bool {
        self.relationships.contains_key(relationship)
    }

    /// The resources that the relationship names.
    pub fn many(&self, name: &str) -> Result<Vec<Self>, Invalid> {
        let Some(data) = self.relationships.get(name).and_then(|relationship| relationship.get("data")) else {
            return Ok(Vec::new());
        };
        read(data, &format!("/data/relationships/{name}/data"))
    }
}

/// Reads attributes into a type; absent is as null.
pub fn attributes<T: DeserializeOwned>(value: &Value) -> Result<T, Invalid> {
    if value.is_null() { read(&Value::Object(Map::new()), "/data/attributes") } else { read(value, "/data/attributes") }
}

/// Lays the sent attributes over the present ones: absent keeps, null clears to the default, unknown is ignored.
pub fn patched<T: Serialize + DeserializeOwned>(present: Option<&T>, sent: &Value) -> Result<T, Invalid> {
    let mut merged = match present.map(serde_json::to_value) {
        Some(Ok(Value::Object(fields))) => fields,
        _ => Map::new(),
    };
    if let Value::Object(sent) = sent {
        for (name, value) in sent {
            match value {
                Value::Null => drop(merged.remove(name)),
                value => drop(merged.insert(name.clone(), value.clone())),
            }
        }
    }
    attributes(&Value::Object(merged))
}

fn parse_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Invalid> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let parsed: Result<Body<T>, _> = serde_path_to_error::deserialize(&mut deserializer);
    parsed.map(|body| body.data).map_err(|error| invalid("", &error))
}

fn read<T: DeserializeOwned>(value: &Value, pointer: &str) -> Result<T, Invalid> {
    serde_path_to_error::deserialize(value).map_err(|error| invalid(pointer, &error))
}

fn invalid(pointer: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Invalid {
    let path = match error.path().to_string().as_str() {
        "." | "?" => String::new(),
        path => format!("/{}", path.replace(['.', '['], "/").replace(']', "")),
    };
    Invalid::at(format!("{pointer}{path}"), error.inner().to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Settings {
        name: String,
        #[serde(default)]
        auto_apply: bool,
        #[serde(default)]
        description: Option<String>,
    }

    #[test]
    fn absent_keeps_null_clears_unknown_is_ignored() {
        let present = Settings { name: "a".into(), auto_apply: true, description: Some("d".into()) };
        let merged: Settings = patched(Some(&present), &json!({ "description": null, "other": 1 })).unwrap();
        assert_eq!(merged, Settings { name: "a".into(), auto_apply: true, description: None });
    }

    #[test]
    fn a_wrong_value_is_pointed_at() {
        let error = patched::<Settings>(None, &json!({ "name": "a", "auto-apply": "x" })).unwrap_err();
        assert_eq!(error.pointer, "/data/attributes/auto-apply");
        let error = patched::<Settings>(None, &json!({})).unwrap_err();
        assert_eq!((error.pointer.as_str(), error.detail.as_str()), ("/data/attributes", "missing field `name`"));
        assert!(Input::parse(b"{\"data\": ").is_err());
    }

    #[test]
    fn an_empty_body_says_nothing() {
        for body in [&b""[..], b"{}", b" \n"] {
            assert!(Input::parse(body).unwrap().attributes.is_null());
        }
    }
}
