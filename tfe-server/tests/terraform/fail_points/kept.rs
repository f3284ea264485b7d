//! What was there before a death and has to be there after it.

use std::collections::BTreeMap;

use serde_json::json;

use crate::harness::{Demo, until};

/// How many values are added at once: with two additions still on the first page of a list.
const ADDED: usize = 4;

/// Values of a workspace that nobody can read without the keys.
pub(super) struct Kept {
    workspace: String,
    values: BTreeMap<String, String>,
}

impl Kept {
    /// Makes a workspace with some values.
    pub(super) fn make(server: &Demo) -> Self {
        let body = json!({ "data": { "type": "workspaces", "attributes": { "name": "kept" } } });
        let made = server.post(&format!("/api/v2/organizations/{}/workspaces", server.text("organization")), &body);
        let mut kept = Self { workspace: made["data"]["id"].as_str().unwrap().to_owned(), values: BTreeMap::new() };
        kept.add(server);
        kept
    }

    /// Adds some more.
    pub(super) fn add(&mut self, server: &Demo) {
        for _ in 0..ADDED {
            let (key, value) = (format!("key-{}", self.values.len()), format!("value-{}", self.values.len()));
            let body = json!({ "data": { "type": "vars", "attributes": { "key": key, "value": value, "category": "terraform" } } });
            let made = server.post(&format!("/api/v2/workspaces/{}/vars", self.workspace), &body);
            assert_eq!(made["data"]["attributes"]["value"], *value, "{made}");
            self.values.insert(key, value);
        }
    }

    /// Requires that the server has exactly these.
    #[track_caller]
    pub(super) fn check(&self, server: &Demo) {
        let listed = until("the server's answer", || {
            let listed = server.get(&format!("/api/v2/workspaces/{}/vars", self.workspace));
            listed["data"].as_array().cloned()
        });
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let seen = listed.iter().map(|variable| &variable["attributes"]).map(|shown| (text(&shown["key"]), text(&shown["value"])));
        assert_eq!(seen.collect::<BTreeMap<_, _>>(), self.values, "{}", server.said());
    }
}
