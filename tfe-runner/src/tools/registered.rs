//! A version that an administrator registered, with the digest of each build.

use std::path::Path;

use async_trait::async_trait;
use semver::Version;
use tfe_core::engine_version::Build;

use super::{
    error::ToolError,
    location::Location,
    source::{Fetched, Release, ToolSource},
};
use crate::job::EngineKind;

/// One version and its builds.
#[derive(Debug, Clone)]
pub struct Registered {
    /// Of which engine.
    pub kind: EngineKind,
    /// Which version.
    pub version: Version,
    /// Where its builds are and what their digests are.
    pub builds: Vec<Build>,
}

#[async_trait]
impl ToolSource for Registered {
    async fn list(&self, kind: EngineKind) -> Result<Vec<Version>, ToolError> {
        Ok((kind == self.kind).then(|| self.version.clone()).into_iter().collect())
    }

    async fn fetch(&self, release: &Release, downloads: &Path) -> Result<Fetched, ToolError> {
        let platform = &release.platform;
        let is_ours = (release.kind, &release.version) == (self.kind, &self.version);
        let build = self.builds.iter().find(|build| is_ours && build.is_for(&platform.os, &platform.arch));
        let build = build.ok_or_else(|| {
            let what = format!("no build of {release} is registered");
            ToolError::Missing(format!("{what}; ask a site administrator to add {} on {} to its archs", platform.os, platform.arch))
        })?;
        let place = Location::parse(&build.url)?;
        let archive = place.download(downloads).await?.ok_or_else(|| {
            ToolError::Missing(format!(
                "there is nothing at {place}, where {release} is registered; ask a site administrator to correct its url"
            ))
        })?;
        if archive.sha256 != build.sha {
            let problem = format!("{place} has the SHA-256 {}, but {release} is registered with {}", archive.sha256, build.sha);
            return Err(ToolError::Untrusted(format!("{problem}; ask a site administrator which of them is right")));
        }
        Ok(Fetched::Archive(archive))
    }
}
