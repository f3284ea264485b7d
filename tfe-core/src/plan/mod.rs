//! What a plan says, to those who may not see all of it: counts, the redacted plan, and how far an apply came.

mod applied;
mod masks;
mod redacted;
mod secrets;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::{applied::ApplyProgress, redacted::redacted};

/// Counts of changes, as the CLI and the pages show them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Resources added, replacements included.
    pub add: u64,
    /// Resources changed in place.
    pub change: u64,
    /// Resources destroyed, replacements included.
    pub destroy: u64,
    /// Resources imported.
    pub import: u64,
    /// Whether there is anything to apply: resources, outputs, moves or imports.
    pub has_changes: bool,
}

/// Counts a plan (the document of `terraform show -json`) as the engine itself does in its `change_summary`
/// (terraform 1.11, `internal/command/views/operation.go`).
pub fn summary(show_json: &Value) -> Summary {
    let mut summary = Summary::default();
    for resource in list(show_json, "resource_changes") {
        let is_data = resource["mode"] == "data";
        let imported = !resource["change"]["importing"].is_null();
        summary.import += u64::from(imported);
        match actions(&resource["change"]).as_slice() {
            ["create"] => summary.add += 1,
            ["update"] => summary.change += 1,
            ["delete"] if !is_data => summary.destroy += 1,
            ["create", "delete"] | ["delete", "create"] => {
                summary.add += 1;
                summary.destroy += 1;
            }
            _ => {}
        }
    }
    summary.has_changes = show_json["applyable"].as_bool().unwrap_or_else(|| changes_anything(show_json));
    summary
}

/// What `applyable` would say; plans older than terraform 1.8 do not.
fn changes_anything(show_json: &Value) -> bool {
    let acts = |change: &Value| actions(change).iter().any(|action| *action != "no-op") || !change["importing"].is_null();
    let resources = list(show_json, "resource_changes").iter();
    let outputs = show_json["output_changes"].as_object().into_iter().flat_map(|outputs| outputs.values());
    resources.map(|resource| acts(&resource["change"]) || !resource["previous_address"].is_null()).chain(outputs.map(acts)).any(|acts| acts)
}

fn actions(change: &Value) -> Vec<&str> {
    list(change, "actions").iter().filter_map(Value::as_str).collect()
}

fn list<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn show() -> Value {
        serde_json::from_str(include_str!("../../tests/fixtures/show.json")).unwrap()
    }

    fn with(mode: &str, actions: &[&str], importing: &Value) -> Value {
        json!({ "address": "t.n", "mode": mode, "change": { "actions": actions, "importing": importing } })
    }

    #[test]
    fn a_real_plan_is_counted_as_the_engine_counted_it() {
        assert_eq!(summary(&show()), Summary { add: 2, change: 3, destroy: 2, import: 1, has_changes: true });
    }

    #[test]
    fn each_action_counts_as_the_engine_counts_it() {
        let none = Value::Null;
        for (resource, (add, change, destroy, import), has_changes) in [
            (with("managed", &["no-op"], &none), (0, 0, 0, 0), false),
            (with("managed", &["no-op"], &json!({ "id": "i" })), (0, 0, 0, 1), true),
            (with("managed", &["create", "delete"], &none), (1, 0, 1, 0), true),
            (with("managed", &["forget"], &none), (0, 0, 0, 0), true),
            (with("managed", &["create", "forget"], &none), (0, 0, 0, 0), true),
            (with("data", &["read"], &none), (0, 0, 0, 0), true),
            (with("data", &["delete"], &none), (0, 0, 0, 0), true),
        ] {
            let expected = Summary { add, change, destroy, import, has_changes };
            assert_eq!(summary(&json!({ "resource_changes": [resource.clone()] })), expected, "{resource}");
        }
    }

    #[test]
    fn moves_and_outputs_are_changes_unless_the_engine_says_otherwise() {
        let moved = json!({ "resource_changes": [{ "previous_address": "a.b", "change": { "actions": ["no-op"] } }] });
        assert!(summary(&moved).has_changes);
        let mut output = json!({ "output_changes": { "o": { "actions": ["create"] } } });
        assert!(summary(&output).has_changes);
        output["applyable"] = json!(false);
        assert!(!summary(&output).has_changes);
        assert_eq!(summary(&json!({})), Summary::default());
    }

    proptest! {
        #[test]
        fn no_more_is_counted_than_there_is(kinds in proptest::collection::vec(0usize..6, 0..20)) {
            let actions: [&[&str]; 6] = [&["no-op"], &["create"], &["update"], &["delete"], &["delete", "create"], &["read"]];
            let changes: Vec<Value> = kinds.iter().map(|kind| with("managed", actions[*kind], &Value::Null)).collect();
            let (length, summary) = (changes.len() as u64, summary(&json!({ "resource_changes": changes })));
            let replaced = kinds.iter().filter(|kind| **kind == 4).count() as u64;
            prop_assert!(summary.add + summary.change + summary.destroy <= length + replaced);
            prop_assert_eq!(summary.has_changes, kinds.iter().any(|kind| *kind != 0));
        }
    }
}
