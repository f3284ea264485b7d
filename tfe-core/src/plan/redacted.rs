//! The plan that everyone who may read the workspace can have: `GET plans/:id/json-output-redacted`.
//!
//! The CLI renders it itself (terraform 1.11, `internal/command/jsonformat`), so it has the parts that the renderer
//! reads, in the engine's own form, and the schemas of the types that occur. Values leave in two passes: what the
//! engine marks ([`super::masks`]) and what is known to be secret ([`super::secrets`]). Variables, prior state, planned
//! values and configuration are left out: they repeat values without marks.

use serde_json::{Map, Value, json};

use super::{
    list,
    masks::{Names, hide_sensitive},
    secrets::Secrets,
};

/// The redacted plan, from `terraform show -json` of the plan file and `terraform providers schema -json`.
/// `secrets` are values to hide wherever they stand, such as those of sensitive variables; those shorter than 6 bytes are not
/// searched for.
pub fn redacted(show_json: &Value, schemas: &Value, secrets: &[&str]) -> Value {
    let provider_schemas = used_schemas(show_json, schemas);
    let mut names = Names::new();
    collect_names(&provider_schemas, &mut names);
    let redaction = Redaction { secrets: Secrets::new(secrets, show_json, &names), names: &names };
    let mut document = json!({
        "plan_format_version": show_json["format_version"],
        "resource_changes": redaction.resources(&show_json["resource_changes"]),
        "resource_drift": redaction.resources(&show_json["resource_drift"]),
        "output_changes": redaction.outputs(&show_json["output_changes"]),
        "relevant_attributes": redaction.relevant_attributes(list(show_json, "relevant_attributes")),
    });
    if let Some(deferred) = show_json["deferred_changes"].as_array() {
        document["deferred_changes"] = deferred.iter().map(|change| redaction.deferred(change)).collect();
    }
    document["provider_format_version"] = schemas.get("format_version").cloned().unwrap_or_else(|| json!("1.0"));
    document["provider_schemas"] = provider_schemas;
    document
}

struct Redaction<'n> {
    secrets: Secrets<'n>,
    names: &'n Names,
}

impl Redaction<'_> {
    fn resources(&self, changes: &Value) -> Value {
        changes.as_array().into_iter().flatten().map(|change| self.resource(change)).collect()
    }

    fn resource(&self, resource: &Value) -> Value {
        let mut resource = resource.clone();
        for (field, value) in resource.as_object_mut().into_iter().flatten() {
            match field.as_str() {
                "mode" | "type" | "name" | "provider_name" | "action_reason" | "deposed" => {}
                "address" | "previous_address" | "module_address" => self.secrets.hide_in_address(value),
                "change" => self.change(value),
                _ => self.secrets.hide_in(value),
            }
        }
        resource
    }

    fn outputs(&self, changes: &Value) -> Value {
        let mut outputs = changes.as_object().cloned().unwrap_or_default();
        outputs.values_mut().for_each(|change| self.change(change));
        outputs.into()
    }

    fn deferred(&self, deferred: &Value) -> Value {
        json!({ "reason": deferred["reason"], "resource_change": self.resource(&deferred["resource_change"]) })
    }

    fn change(&self, change: &mut Value) {
        let Some(fields) = change.as_object_mut() else { return };
        hide_sensitive(fields, self.names);
        for (field, value) in fields {
            match field.as_str() {
                "actions" => {}
                "replace_paths" => self.secrets.hide_in_path(value),
                _ => self.secrets.hide_in(value),
            }
        }
    }

    fn relevant_attributes(&self, attributes: &[Value]) -> Value {
        let mut attributes = attributes.to_vec();
        for attribute in &mut attributes {
            self.secrets.hide_in_address(&mut attribute["resource"]);
            self.secrets.hide_in_path(&mut attribute["attribute"]);
        }
        attributes.into()
    }
}

/// The schemas of the resource types and data sources of the plan. The CLI crashes without one, so a missing one is empty.
fn used_schemas(show_json: &Value, schemas: &Value) -> Value {
    let deferred = list(show_json, "deferred_changes").iter().map(|deferred| &deferred["resource_change"]);
    let resources = ["resource_changes", "resource_drift"].into_iter().flat_map(|field| list(show_json, field));
    let mut used = json!({});
    for resource in resources.chain(deferred) {
        let (Some(provider), Some(resource_type)) = (resource["provider_name"].as_str(), resource["type"].as_str()) else { continue };
        let group = if resource["mode"] == "data" { "data_source_schemas" } else { "resource_schemas" };
        let schema = &schemas["provider_schemas"][provider][group][resource_type];
        used[provider][group][resource_type] = if schema.is_object() { schema.clone() } else { json!({ "version": 0, "block": {} }) };
    }
    used
}

fn collect_names(schemas: &Value, names: &mut Names) {
    match schemas {
        Value::Object(fields) => collect_field_names(fields, names),
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        _ => {}
    }
}

fn collect_field_names(fields: &Map<String, Value>, names: &mut Names) {
    for (name, value) in fields {
        names.insert(name.clone());
        collect_names(value, names);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fixture(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn show() -> Value {
        fixture(include_str!("../../tests/fixtures/show.json"))
    }

    fn schemas() -> Value {
        fixture(include_str!("../../tests/fixtures/schemas.json"))
    }

    /// The old password is in the unmarked copy only; the new one is a sensitive variable of the plan.
    const OLD_PASSWORD: &str = "hunter2-\"quoted\"";

    #[test]
    fn a_real_plan_loses_its_secrets() {
        assert!(show().to_string().contains("hunter"));
        let document = redacted(&show(), &schemas(), &[OLD_PASSWORD]);
        assert!(!document.to_string().contains("hunter"), "{document:#}");
    }

    #[test]
    fn a_real_plan_keeps_what_the_renderer_reads() {
        let document = redacted(&show(), &schemas(), &[OLD_PASSWORD]);
        assert_eq!(document["plan_format_version"], "1.2");
        assert_eq!(document["provider_format_version"], "1.0");
        let fields = ["plan_format_version", "resource_changes", "resource_drift", "output_changes", "relevant_attributes"];
        let present: Vec<&String> = document.as_object().unwrap().keys().collect();
        assert_eq!(present, [&fields[..], &["provider_format_version", "provider_schemas"]].concat());
        for (redacted, full) in list(&document, "resource_changes").iter().zip(list(&show(), "resource_changes")) {
            assert_eq!(redacted["address"], full["address"]);
            for field in ["actions", "before_sensitive", "after_sensitive", "after_unknown", "replace_paths", "importing"] {
                assert_eq!(redacted["change"][field], full["change"][field], "{field}");
            }
        }
        assert_eq!(document["output_changes"]["labels"], show()["output_changes"]["labels"]);
        let connection = &document["output_changes"]["connection"];
        assert_eq!((&connection["before"], &connection["after"]), (&json!("(sensitive value 1)"), &json!("(sensitive value 2)")));
    }

    #[test]
    fn schemas_are_those_of_the_types_that_occur() {
        let resource = |mode, resource_type| json!({ "mode": mode, "type": resource_type, "provider_name": "p", "change": {} });
        let plan = json!({
            "resource_changes": [resource("managed", "a")],
            "resource_drift": [resource("data", "b")],
            "deferred_changes": [{ "reason": "unknown", "resource_change": resource("managed", "missing") }],
        });
        let schema = json!({ "version": 1, "block": {} });
        let types = json!({ "a": schema, "b": schema, "c": schema });
        let schemas = json!({ "provider_schemas": { "p": { "resource_schemas": types, "data_source_schemas": types }, "q": {} } });
        let expected = json!({ "p": {
            "resource_schemas": { "a": schema, "missing": { "version": 0, "block": {} } },
            "data_source_schemas": { "b": schema },
        } });
        let document = redacted(&plan, &schemas, &[]);
        assert_eq!(document["provider_schemas"], expected);
        assert_eq!(document["deferred_changes"][0]["reason"], "unknown");
    }

    #[test]
    fn names_are_not_secrets() {
        let plan = json!({ "resource_changes": [{
            "address": "t.password[\"password\"]", "mode": "managed", "type": "t", "name": "password", "provider_name": "p",
            "change": { "actions": ["create"], "before": null, "after": { "password": "password" }, "replace_paths": [["password"]] },
        }] });
        let schemas =
            json!({ "provider_schemas": { "p": { "resource_schemas": { "t": { "block": { "attributes": { "password": {} } } } } } } });
        let resource = &redacted(&plan, &schemas, &["password"])["resource_changes"][0];
        assert_eq!(resource["address"], "t.password[\"(sensitive value)\"]");
        assert_eq!(resource["name"], "password");
        assert_eq!(resource["change"]["after"], json!({ "password": "(sensitive value)" }));
        assert_eq!(resource["change"]["replace_paths"], json!([["password"]]));
    }

    #[test]
    fn an_empty_plan_is_a_document() {
        let document = redacted(&json!({ "format_version": "1.2" }), &Value::Null, &[]);
        assert_eq!(document["resource_changes"], json!([]));
        assert_eq!(document["provider_schemas"], json!({}));
    }

    fn plan_with(secret: &str) -> Value {
        let value = json!({ "plain": secret, "within": format!("<{secret}>"), secret: [[secret]], "encoded": json!([secret]).to_string() });
        let change = json!({
            "actions": ["update"], "before": value, "after": value, "after_unknown": { secret: true },
            "before_sensitive": { secret: true }, "after_sensitive": {}, "generated_config": format!("x = {secret}"),
            "replace_paths": [[secret]], "importing": { "id": secret },
        });
        let resource = json!({
            "address": format!("t.n[\"{secret}\"]"), "index": secret, "mode": "managed", "type": "t", "name": "n", "provider_name": "p",
            "change": change,
        });
        json!({
            "resource_changes": [resource], "resource_drift": [resource], "output_changes": { "o": change },
            "deferred_changes": [{ "reason": "unknown", "resource_change": resource }],
            "relevant_attributes": [{ "resource": format!("t.n[\"{secret}\"]"), "attribute": [secret] }],
            "variables": { "v": { "value": secret } },
            "configuration": { "root_module": { "variables": { "v": { "sensitive": true } } } },
        })
    }

    proptest! {
        #[test]
        fn no_known_secret_is_left(secret in r#"Z[A-Z0-9"\\\n]{5,12}"#, known: bool) {
            let mut plan = plan_with(&secret);
            if known {
                plan["configuration"] = Value::Null;
            }
            let secrets: Vec<&str> = known.then_some(secret.as_str()).into_iter().collect();
            let document = redacted(&plan, &Value::Null, &secrets);
            for form in [secret.clone(), json!(secret).to_string().trim_matches('"').to_owned()] {
                prop_assert!(!document.to_string().contains(&form), "{}", document);
            }
        }

        #[test]
        fn what_is_not_sensitive_stays(text in "[a-z]{0,8}", number: u32) {
            let change = json!({ "actions": ["update"], "before": { "a": [text] }, "after": { "a": [text], "b": number }, "after_sensitive": { "a": [false] } });
            let plan = json!({ "output_changes": { "o": change } });
            prop_assert_eq!(&redacted(&plan, &Value::Null, &["ZZZZZZ"])["output_changes"]["o"], &change);
        }
    }
}
