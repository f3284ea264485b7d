//! Engines: what is on this machine, and what can be fetched.
//!
//! ```text
//! installed ─┐                    registered by an administrator ─┐
//!            ├─► provide ─► fetch ─┤                              ├─► verify ─► unpack ─► cache
//! cache ─────┘                    a mirror in the vendor's layout ┘
//! ```
//!
//! What is here is used without a look at any network. Only what is not here is fetched, verified (against the digest
//! that an administrator registered, or the vendor's signature), and kept.

mod cache;
mod error;
mod http;
pub mod import;
mod installed;
mod location;
mod mirror;
mod platform;
mod registered;
mod signature;
mod source;
mod sums;
mod unpack;

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use semver::Version;
use tfe_core::{engine_version::Build, version::Constraint};

pub use self::{
    cache::Cache,
    error::ToolError,
    installed::Installed,
    location::Location,
    mirror::{Layout, Mirror},
    platform::Platform,
    registered::Registered,
    source::{Archive, Fetched, Release, ToolSource},
};
use crate::job::EngineKind;

/// Where engines are kept and come from, besides those that are installed. The default fetches nothing.
#[derive(Debug, Clone, Default)]
pub struct ToolSettings {
    /// Where fetched engines are kept; nothing is fetched without it.
    pub cache: Option<PathBuf>,
    /// A mirror of the vendors' releases: a directory, or an `https` or `http` URL.
    pub mirror: Option<String>,
    /// A file with the public keys that sign the mirror's releases, if not the vendors' own in the mirror.
    pub keys: Option<PathBuf>,
    /// Where OpenTofu's index and files are, if not below the mirror.
    pub tofu_layout: Option<Layout>,
}

/// A program that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its version.
    pub version: Version,
    /// Where it is.
    pub path: PathBuf,
}

/// The engines of this machine.
#[derive(Debug)]
pub struct Tools {
    installed: Installed,
    cache: Option<Cache>,
    sources: Vec<Arc<dyn ToolSource>>,
    platform: Platform,
    /// One lock for each release that was ever fetched here, so that each is fetched once; there are few releases.
    flights: Mutex<HashMap<Release, Arc<tokio::sync::Mutex<()>>>>,
}

impl Tools {
    /// Only what is installed.
    pub fn new(installed: Installed) -> Self {
        Self { installed, cache: None, sources: Vec::new(), platform: Platform::current(), flights: Mutex::default() }
    }

    /// What is installed in these directories and on the `PATH`, and what the settings say.
    pub fn open(directories: &[PathBuf], settings: &ToolSettings) -> Self {
        let mut tools = Self::new(Installed::discover(directories));
        if let Some(cache) = &settings.cache {
            tools = tools.with_cache(Cache::at(cache));
        }
        match settings.mirror.as_deref().map(Location::parse) {
            None => tools,
            Some(Ok(base)) => {
                let mirror = Mirror::new(base).with_keys(settings.keys.clone());
                let layout = settings.tofu_layout.clone().unwrap_or_else(|| Layout::of(EngineKind::Tofu));
                tools.with_source(Arc::new(mirror.with_layout(EngineKind::Tofu, layout)))
            }
            Some(Err(error)) => {
                tracing::error!(%error, "the mirror of engines is not used");
                tools
            }
        }
    }

    /// Keeps what is fetched here.
    #[must_use]
    pub fn with_cache(mut self, cache: Cache) -> Self {
        cache.sweep();
        self.cache = Some(cache);
        self
    }

    /// Asks this source too, after the earlier ones.
    #[must_use]
    pub fn with_source(mut self, source: Arc<dyn ToolSource>) -> Self {
        self.sources.push(source);
        self
    }

    /// The program for what a run asks for: a version, a constraint, or `latest`. `builds` are those that an
    /// administrator registered for the version, which then is an exact one; they keep other sources from being asked.
    pub async fn provide(&self, kind: EngineKind, wanted: &str, builds: &[Build]) -> Result<Program, ToolError> {
        let constraint = Constraint::parse(wanted).map_err(|invalid| ToolError::Missing(invalid.detail))?;
        if let Some(program) = self.at_hand(kind, &constraint, builds) {
            return Ok(program);
        }
        match Version::parse(wanted) {
            Ok(version) if !builds.is_empty() => {
                let registered = Registered { kind, version: version.clone(), builds: builds.to_vec() };
                self.fetch(&registered, kind, version, builds).await
            }
            _ => self.search(kind, wanted, &constraint).await,
        }
    }

    /// The versions of an engine that are on this machine, oldest first.
    pub fn names(&self, kind: EngineKind) -> Vec<String> {
        self.programs(kind).into_iter().map(|program| program.version.to_string()).collect()
    }

    /// The programs of an engine that are on this machine, oldest first.
    pub fn programs(&self, kind: EngineKind) -> Vec<Program> {
        let mut versions: Vec<_> = self.installed.versions(kind).cloned().collect();
        versions.extend(self.cache.iter().flat_map(|cache| cache.versions(kind)));
        versions.sort();
        versions.dedup();
        versions.into_iter().filter_map(|version| self.program(kind, version, &[])).collect()
    }

    /// The newest one on this machine that fits.
    fn at_hand(&self, kind: EngineKind, constraint: &Constraint, builds: &[Build]) -> Option<Program> {
        let mut versions: Vec<_> = self.installed.versions(kind).cloned().collect();
        versions.extend(self.cache.iter().flat_map(|cache| cache.versions(kind)));
        let newest = constraint.newest(&versions)?.clone();
        self.program(kind, newest, builds)
    }

    /// An installed program goes before a fetched one: whoever installed it meant it.
    fn program(&self, kind: EngineKind, version: Version, builds: &[Build]) -> Option<Program> {
        let path = match self.installed.program(kind, &version) {
            Some(path) => path.to_owned(),
            None => self.cached(kind, &version, builds)?,
        };
        Some(Program { version, path })
    }

    fn cached(&self, kind: EngineKind, version: &Version, builds: &[Build]) -> Option<PathBuf> {
        let build = builds.iter().find(|build| build.is_for(&self.platform.os, &self.platform.arch));
        match build {
            None if !builds.is_empty() => None,
            build => self.cache.as_ref()?.program(kind, version, build.map(|build| build.sha.as_str())),
        }
    }

    async fn search(&self, kind: EngineKind, wanted: &str, constraint: &Constraint) -> Result<Program, ToolError> {
        let mut problem = None;
        for source in self.sources.iter().filter(|_| self.cache.is_some()) {
            let fetched = match source.list(kind).await {
                Ok(versions) => match constraint.newest(&versions) {
                    Some(newest) => self.fetch(source.as_ref(), kind, newest.clone(), &[]).await,
                    None => continue,
                },
                Err(error) => Err(error),
            };
            match fetched {
                Err(error @ (ToolError::Missing(_) | ToolError::Unavailable(_))) => problem = Some(error),
                fetched => return fetched,
            }
        }
        Err(problem.unwrap_or_else(|| self.missing(kind, wanted)))
    }

    /// Fetches a release and keeps it; the second of two who want the same one waits for the first.
    async fn fetch(&self, source: &dyn ToolSource, kind: EngineKind, version: Version, builds: &[Build]) -> Result<Program, ToolError> {
        let Some(cache) = &self.cache else { return Err(self.missing(kind, &version.to_string())) };
        let release = Release { kind, version, platform: self.platform.clone() };
        let flight = self.flights.lock().unwrap_or_else(PoisonError::into_inner).entry(release.clone()).or_default().clone();
        let _turn = flight.lock().await;
        if let Some(program) = self.program(kind, release.version.clone(), builds) {
            return Ok(program);
        }
        let path = obtain(cache, source, &release).await?;
        tracing::info!(%release, "an engine was fetched");
        Ok(Program { version: release.version, path })
    }

    fn missing(&self, kind: EngineKind, wanted: &str) -> ToolError {
        let name = kind.program();
        let installed = match self.names(kind).join(", ") {
            none if none.is_empty() => format!("no {name} is installed here"),
            some => format!("installed are {some}"),
        };
        ToolError::Missing(format!(
            "{name} {wanted} is not installed on the runner; {installed}. Install it there, or change the workspace's terraform version"
        ))
    }
}

/// Gets a release from a source into the cache.
async fn obtain(cache: &Cache, source: &dyn ToolSource, release: &Release) -> Result<PathBuf, ToolError> {
    let downloads = cache.draft()?;
    match source.fetch(release, downloads.path()).await? {
        Fetched::Program(path) => Ok(path),
        Fetched::Archive(archive) => {
            let (cache, release) = (cache.clone(), release.clone());
            tokio::task::spawn_blocking(move || cache.install(&release, archive)).await.map_err(io::Error::other)?
        }
    }
}
