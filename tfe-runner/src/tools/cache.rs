//! Engines that were fetched: `ROOT/terraform/1.11.4/<sha256 of the archive>/terraform`.
//!
//! A directory appears there by one rename, after its program is whole, on disk and has said its version. So what is
//! found needs no second look, whoever put it there: this process, another one, or `tfe-server tools import`.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use semver::Version;
use tempfile::TempDir;

use super::{
    error::ToolError,
    installed::version_of,
    source::{Archive, Release},
    unpack::{self, MAX_PROGRAM_BYTES},
};
use crate::{files::private_directory, job::EngineKind};

/// How the directories of unfinished work begin.
const DRAFT: &str = ".draft-";
/// When such a directory was left by a process that died: no transfer lasts that long.
const DRAFT_LIFE: Duration = Duration::from_hours(24);
/// The engine is read by whatever user a run has, and changed by nobody.
const PROGRAM_MODE: u32 = 0o555;
const DIRECTORY_MODE: u32 = 0o755;

/// The directory of fetched engines. Several processes may use it at the same time.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache in a directory, which is made when it is needed.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        // Engines are started from other directories.
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// The program of a version: the one from the archive with this digest, or any.
    pub fn program(&self, kind: EngineKind, version: &Version, sha256: Option<&str>) -> Option<PathBuf> {
        let directory = self.root.join(kind.program()).join(version.to_string());
        let mut archives = match sha256 {
            Some(sha256) => vec![directory.join(sha256)],
            None => children(&directory),
        };
        archives.sort();
        archives.into_iter().map(|archive| archive.join(kind.program())).find(|program| program.is_file())
    }

    /// The versions of an engine that are here, oldest first.
    pub fn versions(&self, kind: EngineKind) -> Vec<Version> {
        let named = children(&self.root.join(kind.program())).into_iter();
        let mut versions: Vec<_> = named.filter_map(|path| Version::parse(path.file_name()?.to_str()?).ok()).collect();
        versions.retain(|version| self.program(kind, version, None).is_some());
        versions.sort();
        versions
    }

    /// A directory for work in progress, which goes when it is dropped.
    pub(super) fn draft(&self) -> io::Result<TempDir> {
        private_directory(&self.root)?;
        tempfile::Builder::new().prefix(DRAFT).tempdir_in(&self.root)
    }

    /// Unpacks a verified archive. When it fails nothing has changed.
    pub(super) fn install(&self, release: &Release, mut archive: Archive) -> Result<PathBuf, ToolError> {
        let name = release.kind.program();
        let draft = self.draft()?;
        let program = draft.path().join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&program)?;
        unpack::program(archive.file.as_file_mut(), name, MAX_PROGRAM_BYTES, &mut file)?;
        file.set_permissions(fs::Permissions::from_mode(PROGRAM_MODE))?;
        file.sync_all()?;
        drop(file);
        check_version(release, &program)?;
        fs::set_permissions(draft.path(), fs::Permissions::from_mode(DIRECTORY_MODE))?;
        File::open(draft.path())?.sync_all()?;
        let directory = self.directory(release)?;
        let place = directory.join(&archive.sha256);
        match fs::rename(draft.path(), &place) {
            // Another process was faster; what it has is the same.
            Err(_) if place.join(name).is_file() => {}
            renamed => renamed?,
        }
        File::open(&directory)?.sync_all()?;
        Ok(place.join(name))
    }

    /// Removes what processes left that died at work.
    pub(super) fn sweep(&self) {
        for path in children(&self.root) {
            let is_draft = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DRAFT));
            let changed = fs::metadata(&path).and_then(|metadata| metadata.modified()).unwrap_or_else(|_| SystemTime::now());
            if is_draft && changed.elapsed().is_ok_and(|age| age > DRAFT_LIFE) {
                // What cannot be removed now will be found again at the next start.
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    /// Where the archives of a version are, made so that its name survives a crash.
    fn directory(&self, release: &Release) -> io::Result<PathBuf> {
        let engine = self.root.join(release.kind.program());
        let version = engine.join(release.version.to_string());
        for directory in [&engine, &version] {
            match fs::create_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            fs::set_permissions(directory, fs::Permissions::from_mode(DIRECTORY_MODE))?;
        }
        File::open(&engine)?.sync_all()?;
        File::open(&self.root)?.sync_all()?;
        Ok(version)
    }
}

/// That the archive holds what its name says: who registers a version may have taken the wrong file.
fn check_version(release: &Release, program: &Path) -> Result<(), ToolError> {
    let said = match version_of(program) {
        Some(version) if version == release.version => return Ok(()),
        Some(version) => format!("says that it is {version}"),
        None => "does not start and say its version".to_owned(),
    };
    Err(ToolError::Untrusted(format!("the program in the archive of {release} {said}; use the archive of this version for this machine")))
}

fn children(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()).collect()
}
