//! The first pass of redaction: what the engine itself marks as sensitive.
//!
//! The marks stay and the values are replaced by stand-ins. The CLI compares before and after to say what changes, and
//! an attribute that is null or equal on both sides it does not show at all. So a stand-in is null only for null, equal
//! for equal values, different for different ones, and keeps as much of a collection's form as that needs.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value};

/// Names that the schemas give to attributes and blocks: never secret, and needed to find them.
pub(super) type Names = BTreeSet<String>;

/// Replaces the sensitive values of a change. An attribute that is sensitive before or after is hidden on both sides,
/// as the CLI does.
pub(super) fn hide_sensitive(change: &mut Map<String, Value>, names: &Names) {
    let mask = |field: &str| change.get(field).cloned().unwrap_or_default();
    let (before, after) = (mask("before_sensitive"), mask("after_sensitive"));
    let mut stand_ins = StandIns { numbers: HashMap::new(), names };
    for (side, mask) in [("before", with(&before, &after)), ("after", with(&after, &before))] {
        if let Some(value) = change.get_mut(side) {
            stand_ins.hide(value, &mask);
        }
    }
}

/// The mask of a side, with what the other side hides. A mask is `true`, `false`, or the masks of the parts.
///
/// Items of a list keep their own masks: the CLI pairs them by content, and a text where it expects a number crashes it.
fn with(own: &Value, other: &Value) -> Value {
    match (own, other) {
        (Value::Bool(true), _) | (_, Value::Bool(true)) => Value::Bool(true),
        (Value::Object(own), Value::Object(others)) => {
            let mut masks = own.clone();
            for (name, other) in others {
                let mask = with(own.get(name).unwrap_or(&Value::Null), other);
                masks.insert(name.clone(), mask);
            }
            Value::Object(masks)
        }
        (Value::Null | Value::Bool(false), Value::Object(others)) => {
            others.iter().map(|(name, other)| (name.clone(), with(&Value::Null, other))).collect()
        }
        (own, _) => own.clone(),
    }
}

struct StandIns<'n> {
    /// Equal values have the same number, within one change only: across changes it would tell who shares a password.
    numbers: HashMap<Value, usize>,
    names: &'n Names,
}

impl StandIns<'_> {
    fn hide(&mut self, value: &mut Value, mask: &Value) {
        match (mask, value) {
            (Value::Bool(true), value) => *value = self.stand_in(value),
            (Value::Object(masks), Value::Object(fields)) => {
                for (name, mask) in masks {
                    if let Some(field) = fields.get_mut(name) {
                        self.hide(field, mask);
                    }
                }
            }
            (Value::Array(masks), Value::Array(items)) => {
                items.iter_mut().zip(masks).for_each(|(item, mask)| self.hide(item, mask));
            }
            _ => {}
        }
    }

    fn stand_in(&mut self, value: &Value) -> Value {
        let next = self.numbers.len() + 1;
        let number = *self.numbers.entry(value.clone()).or_insert(next);
        self.shaped(value, &format!("(sensitive value {number})"))
    }

    fn shaped(&self, value: &Value, text: &str) -> Value {
        match value {
            Value::Null => Value::Null,
            Value::Array(items) => items.first().map(|item| self.shaped(item, text)).into_iter().collect(),
            Value::Object(fields) if fields.is_empty() => Value::Object(Map::new()),
            Value::Object(fields) => {
                let known = fields.iter().filter(|(name, _)| self.names.contains(*name));
                let shaped: Map<String, Value> = known.map(|(name, field)| (name.clone(), self.shaped(field, text))).collect();
                if shaped.is_empty() { Map::from_iter([(text.to_owned(), text.into())]).into() } else { shaped.into() }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hidden(before: &Value, before_mask: &Value, after: &Value, after_mask: &Value) -> (Value, Value) {
        let mut change = json!({ "before": before, "before_sensitive": before_mask, "after": after, "after_sensitive": after_mask });
        let names = Names::from(["user".to_owned(), "password".to_owned()]);
        hide_sensitive(change.as_object_mut().unwrap(), &names);
        (change["before"].clone(), change["after"].clone())
    }

    #[test]
    fn equal_stays_equal_different_stays_different_null_stays_null() {
        let password = json!({ "password": true });
        let all = |before: Value, after: Value| hidden(&json!({ "password": before }), &password, &json!({ "password": after }), &password);
        let (before, after) = all(json!("a"), json!("a"));
        assert_eq!(before, after);
        for (one, other) in [
            (json!("a"), json!("b")),
            (json!(null), json!("b")),
            (json!([]), json!(["b"])),
            (json!(["a", "x"]), json!(["a", "y"])),
            (json!({ "a": 1 }), json!({ "a": 2 })),
            (json!({ "user": 1 }), json!({ "user": 2 })),
            (json!([{ "user": 1 }]), json!([{ "user": 2 }])),
        ] {
            let (before, after) = all(one.clone(), other.clone());
            assert_ne!(before, after, "{one} {other}");
            assert_eq!((before["password"].is_null(), after["password"].is_null()), (one.is_null(), other.is_null()));
        }
    }

    #[test]
    fn sensitive_on_one_side_is_hidden_on_both() {
        let (before, after) = hidden(&json!({ "password": "a" }), &json!({}), &json!({ "password": "a" }), &json!({ "password": true }));
        assert_eq!(before, json!({ "password": "(sensitive value 1)" }));
        assert_eq!(after, before);
    }

    #[test]
    fn items_of_a_list_are_hidden_on_their_own_side() {
        let (before, after) = hidden(&json!([1, 2]), &json!([false, true]), &json!([2, 1]), &json!([true]));
        assert_eq!((before, after), (json!([1, "(sensitive value 1)"]), json!(["(sensitive value 1)", 1])));
    }

    #[test]
    fn only_what_is_masked_is_hidden() {
        let before = json!({ "user": "u", "list": [{ "password": "a", "port": 1 }, "open"] });
        let (before, after) = hidden(&before, &json!({ "list": [{ "password": true }] }), &Value::Null, &json!(false));
        assert_eq!(before, json!({ "user": "u", "list": [{ "password": "(sensitive value 1)", "port": 1 }, "open"] }));
        assert_eq!(after, Value::Null);
    }

    #[test]
    fn a_hidden_map_does_not_tell_its_keys() {
        let (before, _) = hidden(&json!({ "m": { "hunter2": 1, "x": 2 } }), &json!({ "m": true }), &Value::Null, &Value::Null);
        assert_eq!(before, json!({ "m": { "(sensitive value 1)": "(sensitive value 1)" } }));
    }
}
