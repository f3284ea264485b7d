//! What earlier releases stored is still read, and nothing of it is lost when it is written again.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;
use tfe_core::{
    KINDS,
    agent::{Agent, AgentPool},
    blob::Blob,
    configuration::ConfigurationVersion,
    duty::Duty,
    engine_version::EngineVersion,
    event::RunEvent,
    installation::Installation,
    job::Job,
    node::Node,
    organization::{Membership, Organization, Project},
    record::Record,
    rewrap::Rewrap,
    run::Run,
    state_version::{StateOutput, StateVersion},
    user::{Token, User},
    variable::Variable,
    workspace::Workspace,
};

/// Kinds whose records live for minutes, and keyrings, which `tfe-storage` tests itself.
const SHORT_LIVED: [&str; 4] = ["authorization_codes", "keyrings", "log_chunks", "sessions"];

/// One record of each kind, by the name of the kind.
type Golden = BTreeMap<String, Value>;

fn releases() -> Vec<(String, Golden)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let golden = |path: &Path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    files.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), golden(&path))).collect()
}

/// Reads the record, and compares what it would be written as.
fn check<T: Record>(release: &str, golden: &Golden) {
    let name = T::KIND.name;
    let stored = golden.get(name).unwrap_or_else(|| panic!("release {release} has no {name}"));
    let record: T = serde_json::from_value(stored.clone()).unwrap_or_else(|error| panic!("{name} of {release}: {error}"));
    let written = serde_json::to_value(&record).unwrap();
    for (field, value) in stored.as_object().unwrap() {
        assert_eq!(written.get(field), Some(value), "{name} of {release} loses {field}");
    }
}

macro_rules! check_all {
    ($release:expr, $golden:expr, [$($type:ty),* $(,)?]) => {{
        $(check::<$type>($release, $golden);)*
        [$(<$type as Record>::KIND.name),*]
    }};
}

#[test]
fn records_of_every_release_are_read_and_written_without_loss() {
    let releases = releases();
    assert!(!releases.is_empty());
    for (release, golden) in releases {
        #[rustfmt::skip]
        let checked = check_all!(&release, &golden, [
            Agent, AgentPool, Blob, ConfigurationVersion, Duty, EngineVersion, Installation, Job, Membership, Node, Organization, Project,
            Rewrap, Run, RunEvent, StateOutput, StateVersion, Token, User, Variable, Workspace,
        ]);
        let missed: Vec<_> = KINDS.iter().map(|kind| kind.name).filter(|name| !checked.contains(name)).collect();
        assert!(missed.iter().all(|name| SHORT_LIVED.contains(name)), "{missed:?}");
    }
}
