//! The engines that are installed on this machine.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use async_trait::async_trait;
use semver::Version;

use super::{
    error::ToolError,
    source::{Fetched, Release, ToolSource},
};
use crate::job::EngineKind;

/// How long an engine may take to say its version: it takes 50 ms, on a busy and cold machine some seconds.
const VERSION_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a program is started again that another thread still seems to write: that ends when a child of the other
/// thread, which holds the file only between its birth and its first instruction, has come so far.
const MAX_BUSY_STARTS: u32 = 20;
/// The pause before that.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// The engines that were found.
#[derive(Debug, Clone, Default)]
pub struct Installed(BTreeMap<EngineKind, BTreeMap<Version, PathBuf>>);

impl Installed {
    /// Looks into the directories and those of `PATH`: `DIR/terraform`, and `DIR/terraform/VERSION/terraform`.
    pub fn discover(directories: &[PathBuf]) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut installed = Self::default();
        for directory in directories.iter().cloned().chain(std::env::split_paths(&path)) {
            // Engines are started from other directories.
            let directory = std::path::absolute(&directory).unwrap_or(directory);
            for kind in EngineKind::ALL {
                for program in candidates(&directory, kind) {
                    if let Some(version) = version_of(&program) {
                        // The first one found wins, as on a PATH.
                        installed.0.entry(kind).or_default().entry(version).or_insert(program);
                    }
                }
            }
        }
        installed
    }

    /// The program of a version.
    pub fn program(&self, kind: EngineKind, version: &Version) -> Option<&Path> {
        self.0.get(&kind)?.get(version).map(PathBuf::as_path)
    }

    /// The versions of an engine, oldest first.
    pub fn versions(&self, kind: EngineKind) -> impl Iterator<Item = &Version> {
        self.0.get(&kind).into_iter().flat_map(BTreeMap::keys)
    }
}

#[async_trait]
impl ToolSource for Installed {
    async fn list(&self, kind: EngineKind) -> Result<Vec<Version>, ToolError> {
        Ok(self.versions(kind).cloned().collect())
    }

    async fn fetch(&self, release: &Release, _: &Path) -> Result<Fetched, ToolError> {
        let program = self.program(release.kind, &release.version);
        let missing = || ToolError::Missing(format!("{} {} is not installed here", release.kind.program(), release.version));
        program.map(|program| Fetched::Program(program.to_owned())).ok_or_else(missing)
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

/// The version that a program says it has, when it is asked with nothing of this process's environment.
pub(super) fn version_of(program: &Path) -> Option<Version> {
    let mut child = start(program).ok()?;
    let mut output = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(io::read_to_string(&mut output)));
    let text = receiver.recv_timeout(VERSION_TIMEOUT).ok().and_then(Result::ok);
    if text.is_none() {
        let _ = child.kill();
    }
    let _ = child.wait();
    let document: serde_json::Value = serde_json::from_str(&text?).ok()?;
    Version::parse(document.get("terraform_version")?.as_str()?).ok()
}

fn start(program: &Path) -> io::Result<std::process::Child> {
    let mut command = Command::new(program);
    command.args(["version", "-json"]).env_clear().env("CHECKPOINT_DISABLE", "1").env("HOME", "/nonexistent");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut starts = 1;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && starts < MAX_BUSY_STARTS => {
                starts += 1;
                thread::sleep(BUSY_PAUSE);
            }
            started => return started,
        }
    }
}
