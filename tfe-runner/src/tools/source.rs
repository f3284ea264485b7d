//! Where engines come from.

use std::{
    fmt::{self, Debug},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use semver::Version;
use tempfile::NamedTempFile;

use super::{error::ToolError, platform::Platform};
use crate::job::EngineKind;

/// A version of an engine, built for a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Release {
    /// Which engine.
    pub kind: EngineKind,
    /// Which version.
    pub version: Version,
    /// For which machine.
    pub platform: Platform,
}

/// What a source gives.
#[derive(Debug)]
pub enum Fetched {
    /// A program that is ready on this machine.
    Program(PathBuf),
    /// An archive with the program in it, whole and verified.
    Archive(Archive),
}

/// An archive in a file of its own, which goes when this is dropped.
#[derive(Debug)]
pub struct Archive {
    /// The file; nobody else writes it.
    pub(super) file: NamedTempFile,
    /// The SHA-256 of its content, in lower case hexadecimal.
    pub(super) sha256: String,
}

/// A place that engines come from.
///
/// # Contract
/// What is fetched was verified: it is what the vendor signed or the administrator registered. A source has nothing
/// half; when it fails it leaves no files.
#[async_trait]
pub trait ToolSource: Debug + Send + Sync + 'static {
    /// The versions of an engine that it has, in any order and for any machine.
    async fn list(&self, kind: EngineKind) -> Result<Vec<Version>, ToolError>;

    /// Gets a release; archives are written into `downloads`, a directory that only this process uses.
    /// [`ToolError::Missing`] means that another source may have it.
    async fn fetch(&self, release: &Release, downloads: &Path) -> Result<Fetched, ToolError>;
}

impl fmt::Display for Release {
    /// As in the name of an archive: `terraform_1.11.4_linux_amd64`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}_{}_{}", self.kind.program(), self.version, self.platform)
    }
}
