//! The engines that are installed here.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use semver::Version;
use tfe_core::version::Constraint;

use crate::job::EngineKind;

/// How long an engine may take to say its version: it takes 50 ms, on a busy and cold machine some seconds.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);

/// The engines that a runner found.
#[derive(Debug, Clone, Default)]
pub struct Tools(BTreeMap<EngineKind, BTreeMap<Version, PathBuf>>);

/// No installed engine fits what a run asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotInstalled(String);

impl Tools {
    /// Looks into the directories and those of `PATH`: `DIR/terraform`, and `DIR/terraform/VERSION/terraform`.
    pub fn discover(directories: &[PathBuf]) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut tools = Self::default();
        for directory in directories.iter().cloned().chain(std::env::split_paths(&path)) {
            for kind in [EngineKind::Terraform, EngineKind::Tofu] {
                for program in candidates(&directory, kind) {
                    if let Some(version) = version_of(&program) {
                        // The first one found wins, as on a PATH.
                        tools.0.entry(kind).or_default().entry(version).or_insert(program);
                    }
                }
            }
        }
        tools
    }

    /// The program and version for what a run asks for: a version, a constraint, or `latest`.
    pub fn resolve(&self, kind: EngineKind, wanted: &str) -> Result<(Version, PathBuf), NotInstalled> {
        let installed = self.0.get(&kind);
        let constraint = Constraint::parse(wanted).map_err(|error| NotInstalled(error.detail))?;
        let versions = installed.into_iter().flat_map(BTreeMap::keys);
        let found = constraint.newest(versions).and_then(|version| Some((version.clone(), installed?.get(version)?.clone())));
        found.ok_or_else(|| {
            let name = kind.program();
            let installed = match self.names(kind).join(", ") {
                none if none.is_empty() => format!("no {name} is installed here"),
                some => format!("installed are {some}"),
            };
            NotInstalled(format!(
                "{name} {wanted} is not installed on the runner; {installed}. Install it there, or change the workspace's terraform version"
            ))
        })
    }

    /// The versions of an engine, oldest first.
    pub fn names(&self, kind: EngineKind) -> Vec<String> {
        self.0.get(&kind).into_iter().flat_map(BTreeMap::keys).map(ToString::to_string).collect()
    }
}

fn candidates(directory: &Path, kind: EngineKind) -> Vec<PathBuf> {
    let name = kind.program();
    let plain = directory.join(name);
    if plain.is_file() {
        return vec![plain];
    }
    let versions = std::fs::read_dir(&plain).into_iter().flatten().filter_map(Result::ok);
    versions.map(|entry| entry.path().join(name)).filter(|program| program.is_file()).collect()
}

fn version_of(program: &Path) -> Option<Version> {
    let mut child = Command::new(program)
        .args(["version", "-json"])
        .env_clear()
        .env("CHECKPOINT_DISABLE", "1")
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut output = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(std::io::read_to_string(&mut output)));
    let text = receiver.recv_timeout(VERSION_TIMEOUT).ok().and_then(Result::ok);
    if text.is_none() {
        let _ = child.kill();
    }
    let _ = child.wait();
    let document: serde_json::Value = serde_json::from_str(&text?).ok()?;
    Version::parse(document.get("terraform_version")?.as_str()?).ok()
}
