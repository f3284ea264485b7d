//! The state file, format version 4 (terraform 0.12 and later, `internal/states/statefile`).

use std::io;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Map, Value, value::RawValue};

use crate::{error::Invalid, record::has_nul};

/// The only format that is read.
const FORMAT_VERSION: u64 = 4;
/// Most outputs that are stored. A snapshot replaces those of the one before in one commit, which has at most 10,000 writes.
pub const MAX_OUTPUTS: usize = 4_500;

/// What we need to know of a state file. Attributes of resources are skipped, not kept: they are most of the file,
/// and secret.
#[derive(Debug, Clone, PartialEq)]
pub struct StateFile {
    /// The version of the file's format.
    pub version: u64,
    /// The engine that wrote it.
    pub terraform_version: String,
    /// Rises with each change.
    pub serial: u64,
    /// Names the history that serials count in.
    pub lineage: String,
    /// The outputs of the root module, in the file's order.
    pub outputs: Vec<Output>,
    /// The resources, in the file's order.
    pub resources: Vec<Resource>,
}

/// An output value.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its value, clear.
    pub value: Value,
    /// The engine's type, as in the file: `"string"`, `["list", "string"]`, `["object", {…}]`.
    pub detailed_type: Value,
    /// Whether the configuration calls it sensitive.
    pub sensitive: bool,
}

/// A resource with all its instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its address, without the instance: `module.a.data.x.y`.
    pub address: String,
    /// `managed` or `data`.
    pub mode: String,
    /// Its type.
    pub resource_type: String,
    /// Its name in the configuration.
    pub name: String,
    /// The address of the module instance; none at the top.
    pub module: Option<String>,
    /// The provider, as in the file: `provider["registry.terraform.io/hashicorp/null"]`.
    pub provider: String,
    /// How many instances there are, without those that are only left to be destroyed.
    pub count: u64,
}

impl StateFile {
    /// Reads a state file; what it does not know it ignores.
    pub fn parse(bytes: &[u8]) -> Result<Self, Invalid> {
        serde_json::from_slice(bytes).map_err(|error| unreadable(&error)).and_then(Self::checked)
    }

    /// The same from a reader, holding no more of the file in memory than what is kept of it.
    pub fn read(content: impl io::Read) -> Result<Self, Invalid> {
        serde_json::from_reader(content).map_err(|error| unreadable(&error)).and_then(Self::checked)
    }

    /// Whether what is kept of the state can be stored. It is one all the same: an engine works with more than a database does.
    pub fn require_storable(&self) -> Result<(), Invalid> {
        if self.outputs.len() > MAX_OUTPUTS {
            let detail = format!("the state has {} outputs, and at most {MAX_OUTPUTS} are stored; put some together", self.outputs.len());
            return Err(Invalid::attribute("state", detail));
        }
        let own = [&self.terraform_version, &self.lineage];
        let of_resources = self.resources.iter().flat_map(|resource| [&resource.address, &resource.name, &resource.provider]);
        let of_outputs = self.outputs.iter().map(|output| &output.name);
        let is_named_with_nul = own.into_iter().chain(of_resources).chain(of_outputs).any(|text| text.contains('\0'));
        if is_named_with_nul || self.outputs.iter().any(|output| has_nul(&output.detailed_type)) {
            let detail = "a name, or a key of an output, holds a NUL character, which cannot be stored; choose another one";
            return Err(Invalid::attribute("state", detail));
        }
        Ok(())
    }

    fn checked(raw: RawState) -> Result<Self, Invalid> {
        if raw.version != FORMAT_VERSION {
            let detail = format!("the state has format version {}; write it with a terraform version from 0.12 on", raw.version);
            return Err(Invalid::attribute("state", detail));
        }
        Ok(Self {
            version: raw.version,
            terraform_version: raw.terraform_version,
            serial: raw.serial,
            lineage: raw.lineage,
            outputs: raw.outputs.into_iter().filter_map(|(name, value)| Output::read(name, &value)).collect(),
            resources: raw.resources.into_iter().map(Resource::from).collect(),
        })
    }
}

impl Output {
    /// The API's `type`, by the JSON that the value is: `string`, `number`, `bool`, `array` or `object`.
    ///
    /// The API's documentation shows `array` for a tuple and `detailed-type` for the engine's own type
    /// (HCP Terraform, "State Version Outputs API").
    pub fn kind(&self) -> &'static str {
        let constructor = self.detailed_type.as_str().or_else(|| self.detailed_type.get(0)?.as_str());
        match (constructor, &self.value) {
            (Some("number"), _) | (_, Value::Number(_)) => "number",
            (Some("bool"), _) | (_, Value::Bool(_)) => "bool",
            (Some("list" | "set" | "tuple"), _) | (_, Value::Array(_)) => "array",
            (Some("map" | "object"), _) | (_, Value::Object(_)) => "object",
            _ => "string",
        }
    }

    fn read(name: String, output: &Value) -> Option<Self> {
        Some(Self {
            name,
            value: output.get("value").cloned().unwrap_or(Value::Null),
            detailed_type: output.get("type").cloned().unwrap_or(Value::Null),
            sensitive: output.as_object()?.get("sensitive").and_then(Value::as_bool).unwrap_or(false),
        })
    }
}

/// The same state under a higher serial, as a new version of it. Every other byte stays: numbers that JSON libraries
/// would round and fields that we do not know survive.
pub fn rolled_back(bytes: &[u8], new_serial: u64) -> Result<Vec<u8>, Invalid> {
    #[derive(Deserialize)]
    struct Head<'a> {
        #[serde(borrow)]
        serial: &'a RawValue,
    }
    let head: Head<'_> = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    let old = head.serial.get();
    let start = old.as_ptr().addr() - bytes.as_ptr().addr();
    Ok([&bytes[..start], new_serial.to_string().as_bytes(), &bytes[start + old.len()..]].concat())
}

#[derive(Deserialize)]
struct RawState {
    version: u64,
    #[serde(default)]
    terraform_version: String,
    serial: u64,
    #[serde(default)]
    lineage: String,
    #[serde(default, deserialize_with = "null_is_default")]
    outputs: Map<String, Value>,
    #[serde(default, deserialize_with = "null_is_default")]
    resources: Vec<RawResource>,
}

#[derive(Deserialize)]
struct RawResource {
    #[serde(default)]
    module: Option<String>,
    mode: String,
    #[serde(rename = "type")]
    resource_type: String,
    name: String,
    #[serde(default)]
    provider: String,
    #[serde(default, deserialize_with = "null_is_default")]
    instances: Vec<RawInstance>,
}

#[derive(Deserialize)]
struct RawInstance {
    #[serde(default)]
    deposed: Option<IgnoredAny>,
}

impl From<RawResource> for Resource {
    fn from(raw: RawResource) -> Self {
        let module = raw.module.filter(|module| !module.is_empty());
        let data = if raw.mode == "data" { "data." } else { "" };
        let prefix = module.as_ref().map(|module| format!("{module}.")).unwrap_or_default();
        Self {
            address: format!("{prefix}{data}{}.{}", raw.resource_type, raw.name),
            count: raw.instances.iter().map(|instance| u64::from(instance.deposed.is_none())).sum(),
            mode: raw.mode,
            resource_type: raw.resource_type,
            name: raw.name,
            module,
            provider: raw.provider,
        }
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Says where, not what: the text around the place may be secret.
fn unreadable(error: &serde_json::Error) -> Invalid {
    let why = if error.is_data() { "has not the form of a state" } else { "is not JSON" };
    Invalid::attribute("state", format!("the state {why} (line {}, column {})", error.line(), error.column()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STATE: &[u8] = include_bytes!("../../tests/fixtures/state.json");

    #[test]
    fn a_real_state_is_read() {
        let state = StateFile::parse(STATE).unwrap();
        assert_eq!(StateFile::read(STATE).unwrap(), state);
        assert_eq!((state.version, state.terraform_version.as_str()), (4, "1.11.4"));
        assert_eq!((state.serial, state.lineage.as_str()), (6, "606de3cf-9025-e947-1a21-04fb92d9472b"));
        let outputs: Vec<_> = state.outputs.iter().map(|output| (output.name.as_str(), output.kind(), output.sensitive)).collect();
        assert_eq!(
            outputs,
            [("connection", "string", true), ("labels", "object", false), ("pair", "array", false), ("size", "number", false)]
        );
        assert_eq!(state.outputs[2].detailed_type, json!(["tuple", ["string", "number"]]));
        let resources: Vec<_> = state.resources.iter().map(|resource| (resource.address.as_str(), resource.count)).collect();
        assert_eq!(
            resources,
            [("terraform_data.changed", 1), ("terraform_data.each", 2), ("terraform_data.kept", 1), ("terraform_data.replaced", 1)]
        );
        assert_eq!(state.resources[0].provider, r#"provider["terraform.io/builtin/terraform"]"#);
    }

    #[test]
    fn addresses_have_module_and_mode_and_deposed_objects_do_not_count() {
        let state = json!({
            "version": 4, "serial": 1, "future": {}, "outputs": null,
            "resources": [
                { "module": "module.a[\"x\"]", "mode": "data", "type": "t", "name": "n", "instances": [{}, { "deposed": "0011" }] },
                { "mode": "managed", "type": "t", "name": "n", "instances": null },
            ],
        });
        let state = StateFile::parse(state.to_string().as_bytes()).unwrap();
        let resources: Vec<_> = state.resources.iter().map(|resource| (resource.address.as_str(), resource.count)).collect();
        assert_eq!(resources, [("module.a[\"x\"].data.t.n", 1), ("t.n", 0)]);
        assert_eq!(state.resources[0].module.as_deref(), Some("module.a[\"x\"]"));
    }

    #[test]
    fn what_is_no_state_is_refused_without_quoting_it() {
        for text in
            ["", "{", "[]", "{}", r#"{"version":3,"serial":1}"#, r#"{"version":4,"serial":-1}"#, r#"{"version":4,"serial":"hunter2"}"#]
        {
            let error = StateFile::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.pointer, "/data/attributes/state");
            assert!(!error.detail.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_no_database_takes_is_a_state_and_cannot_be_stored() {
        let with = |outputs: Value| {
            StateFile::parse(json!({ "version": 4, "serial": 1, "outputs": outputs, "resources": [] }).to_string().as_bytes()).unwrap()
        };
        let many = |count: usize| with((0..count).map(|number| (format!("o{number}"), json!({ "value": 1, "type": "number" }))).collect());
        assert!(many(MAX_OUTPUTS).require_storable().is_ok());
        assert!(many(MAX_OUTPUTS + 1).require_storable().unwrap_err().detail.contains("4501 outputs"));
        let keyed = json!({ "o": { "value": { "a\0b": 1 }, "type": ["object", { "a\0b": "number" }] } });
        assert!(with(keyed).require_storable().unwrap_err().detail.contains("NUL"));
        // A value is sealed, and then holds anything.
        assert!(with(json!({ "o": { "value": "a\0b", "type": "string" } })).require_storable().is_ok());
    }

    #[test]
    fn every_type_has_its_kind() {
        for (detailed_type, value, kind) in [
            (json!("string"), json!("a"), "string"),
            (json!("string"), json!(null), "string"),
            (json!("number"), json!(1), "number"),
            (json!("bool"), json!(null), "bool"),
            (json!(["list", "string"]), json!([]), "array"),
            (json!(["set", "number"]), json!(null), "array"),
            (json!(["map", "bool"]), json!({}), "object"),
            (json!(["object", {}]), json!(null), "object"),
            (json!("dynamic"), json!([1]), "array"),
            (json!(null), json!(true), "bool"),
        ] {
            let output = Output { name: "o".to_owned(), value, detailed_type: detailed_type.clone(), sensitive: false };
            assert_eq!(output.kind(), kind, "{detailed_type}");
        }
    }

    #[test]
    fn a_roll_back_changes_the_serial_and_nothing_else() {
        let text = "{\n  \"x\": {\"serial\": 1},\n  \"serial\" : 7 ,\n  \"exact\": 123456789012345678901234567890.10\n}\n";
        let expected = text.replace(": 7 ", ": 1000 ");
        assert_eq!(rolled_back(text.as_bytes(), 1000).unwrap(), expected.as_bytes());
        let again = rolled_back(STATE, 99).unwrap();
        assert_eq!(StateFile::parse(&again).unwrap(), StateFile { serial: 99, ..StateFile::parse(STATE).unwrap() });
        assert!(rolled_back(b"{}", 1).is_err());
    }
}
