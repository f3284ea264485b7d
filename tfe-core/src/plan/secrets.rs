//! The second pass of redaction: known secrets that the engine does not mark, such as a computed copy of a password.

use serde_json::{Map, Value};

use super::masks::Names;

/// Shorter secrets are not searched for: they would be found in ordinary words.
const MIN_SECRET_BYTES: usize = 6;
/// What is put in the place of a secret.
const STAND_IN: &str = "(sensitive value)";

/// What to search for.
pub(super) struct Secrets<'n> {
    /// Longest first, so that a secret within a secret does not split it.
    texts: Vec<String>,
    names: &'n Names,
}

impl<'n> Secrets<'n> {
    /// The given secrets, and the values of the variables that the configuration of the plan calls sensitive.
    pub(super) fn new(secrets: &[&str], show_json: &Value, names: &'n Names) -> Self {
        let mut texts: Vec<String> = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let variables = show_json["configuration"]["root_module"]["variables"].as_object();
        for (name, variable) in variables.into_iter().flatten() {
            if variable["sensitive"] == true {
                collect_texts(&show_json["variables"][name]["value"], &mut texts);
            }
        }
        texts.retain(|text| text.len() >= MIN_SECRET_BYTES);
        let escaped: Vec<String> = texts.iter().map(|text| escaped(text)).collect();
        texts.extend(escaped);
        texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        texts.dedup();
        Self { texts, names }
    }

    /// Replaces secrets within strings, whole numbers, and keys that no schema names.
    pub(super) fn hide_in(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.hide_in_text(text),
            Value::Number(number) if self.texts.contains(&number.to_string()) => *value = Value::Null,
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in(item)),
            Value::Object(fields) => self.hide_in_fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Replaces secrets in the instance keys of an address; the names in it are the configuration's.
    pub(super) fn hide_in_address(&self, address: &mut Value) {
        if let Value::String(text) = address
            && let Some(key) = text.find('[')
        {
            let mut keys = text.split_off(key);
            self.hide_in_text(&mut keys);
            text.push_str(&keys);
        }
    }

    /// Replaces secrets in attribute paths, except for attribute names.
    pub(super) fn hide_in_path(&self, path: &mut Value) {
        match path {
            Value::Array(steps) => steps.iter_mut().for_each(|step| self.hide_in_path(step)),
            Value::String(name) if self.names.contains(name) => {}
            step => self.hide_in(step),
        }
    }

    fn hide_in_fields(&self, fields: &mut Map<String, Value>) {
        for (mut name, mut value) in std::mem::take(fields) {
            if !self.names.contains(&name) {
                self.hide_in_text(&mut name);
            }
            self.hide_in(&mut value);
            fields.insert(name, value);
        }
    }

    fn hide_in_text(&self, text: &mut String) {
        for secret in &self.texts {
            if text.contains(secret.as_str()) {
                *text = text.replace(secret.as_str(), STAND_IN);
            }
        }
    }
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(fields) => fields.values().for_each(|field| collect_texts(field, texts)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// As it stands in JSON within a string, for `jsonencode`.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
