//! The state of a workspace as simulated engines write it: resources that only become more.

use serde_json::{Value, json};
use tfe_core::state::StateFile;

/// A state.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) serial: u64,
    lineage: String,
    pub(super) resources: Vec<String>,
}

impl State {
    /// The first one of a lineage.
    pub(super) fn empty(lineage: String) -> Self {
        Self { serial: 0, lineage, resources: Vec::new() }
    }

    /// From what the control plane has.
    pub(super) fn parsed(bytes: &[u8]) -> Self {
        let file = StateFile::parse(bytes).expect("what was stored is a state");
        Self { serial: file.serial, lineage: file.lineage, resources: file.resources.into_iter().map(|resource| resource.name).collect() }
    }

    /// One more resource.
    pub(super) fn add(&mut self, name: String) {
        self.serial += 1;
        self.resources.push(name);
    }

    /// The state file.
    pub(super) fn file(&self) -> Vec<u8> {
        let resource = |name: &String| json!({"mode": "managed", "type": "thing", "name": name, "provider": "p", "instances": [{}]});
        let resources: Vec<Value> = self.resources.iter().map(resource).collect();
        let (serial, lineage) = (self.serial, &self.lineage);
        let file = json!({"version": 4, "terraform_version": "1.9.0", "serial": serial, "lineage": lineage, "outputs": {}, "resources": resources});
        file.to_string().into_bytes()
    }
}
