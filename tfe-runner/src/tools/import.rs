//! Bringing engines to a machine without a network: from a directory in the layout of a mirror, or one archive.

use std::path::Path;

use async_trait::async_trait;
use semver::Version;

use super::{
    cache::Cache,
    error::ToolError,
    location::Location,
    mirror::{Layout, Mirror},
    obtain,
    platform::Platform,
    source::{Fetched, Release, ToolSource},
};
use crate::job::EngineKind;

/// What vouches for what is imported.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The SHA-256 of the one archive, in hexadecimal. Without it, the signed list of checksums beside it counts.
    pub sha256: Option<String>,
    /// A file with the public keys that sign lists of checksums, if not the vendors' own beside them.
    pub keys: Option<std::path::PathBuf>,
}

/// What an import did.
#[derive(Debug, Default)]
pub struct Imported {
    /// What can be used now.
    pub releases: Vec<Release>,
    /// What cannot, and why.
    pub skipped: Vec<(Release, ToolError)>,
}

/// Brings an archive, or all releases of a directory, into the cache. Nothing is taken on faith: an archive without a
/// good signature or the right digest is not imported.
pub async fn import(cache: &Cache, from: &Path, trust: &Trust) -> Result<Imported, ToolError> {
    let from = std::path::absolute(from)?;
    if from.is_dir() { directory(cache, &from, trust).await } else { archive(cache, &from, trust).await }
}

async fn directory(cache: &Cache, from: &Path, trust: &Trust) -> Result<Imported, ToolError> {
    let mirror = Mirror::new(Location::Path(from.to_owned())).with_keys(trust.keys.clone());
    let mut imported = Imported::default();
    for kind in EngineKind::ALL {
        let mut versions = mirror.list(kind).await?;
        versions.sort();
        for version in versions {
            let release = Release { kind, version, platform: Platform::current() };
            match obtain(cache, &mirror, &release).await {
                Ok(_) => imported.releases.push(release),
                Err(error) => imported.skipped.push((release, error)),
            }
        }
    }
    if imported.releases.is_empty() && imported.skipped.is_empty() {
        let expected = EngineKind::ALL.map(|kind| format!("{}/{}", from.display(), Layout::of(kind).files)).join(" or ");
        return Err(ToolError::Missing(format!("there are no releases in {}; they are expected as {expected}", from.display())));
    }
    Ok(imported)
}

async fn archive(cache: &Cache, from: &Path, trust: &Trust) -> Result<Imported, ToolError> {
    let name = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let release = release(&name).ok_or_else(|| {
        let expected = "terraform_1.11.4_linux_amd64.zip or tofu_1.8.0_linux_amd64.tar.gz";
        ToolError::Missing(format!("\"{name}\" does not say what it is; give it its vendor's name, such as {expected}"))
    })?;
    let here = Platform::current();
    if release.platform != here {
        return Err(ToolError::Missing(format!("{name} is not for this machine; get the one that ends with {here}")));
    }
    let source = vouched(from, trust, release.kind);
    obtain(cache, source.as_ref(), &release).await.map_err(|error| if trust.sha256.is_none() { unsigned(error, &name) } else { error })?;
    Ok(Imported { releases: vec![release], skipped: Vec::new() })
}

/// The archive as a source: with its digest, or with the signed list of checksums beside it.
fn vouched(from: &Path, trust: &Trust, kind: EngineKind) -> Box<dyn ToolSource> {
    if let Some(sha256) = &trust.sha256 {
        return Box::new(Known { archive: Location::Path(from.to_owned()), sha256: sha256.to_ascii_lowercase() });
    }
    let beside = Location::Path(from.parent().unwrap_or(Path::new("/")).to_owned());
    let flat = Layout { index: String::new(), files: "{file}".to_owned() };
    Box::new(Mirror::new(beside).with_layout(kind, flat).with_keys(trust.keys.clone()))
}

fn unsigned(error: ToolError, name: &str) -> ToolError {
    match error {
        ToolError::Missing(_) => ToolError::Missing(format!(
            "nothing vouches for {name}: put its vendor's signed SHA256SUMS beside it, or give its digest with --sha256"
        )),
        error => error,
    }
}

/// One archive, and the digest that it must have.
#[derive(Debug)]
struct Known {
    archive: Location,
    sha256: String,
}

#[async_trait]
impl ToolSource for Known {
    async fn list(&self, _: EngineKind) -> Result<Vec<Version>, ToolError> {
        Ok(Vec::new())
    }

    async fn fetch(&self, release: &Release, downloads: &Path) -> Result<Fetched, ToolError> {
        let place = &self.archive;
        let missing = || ToolError::Missing(format!("there is no {place}; check the path"));
        let archive = place.download(downloads).await?.ok_or_else(missing)?;
        if archive.sha256 != self.sha256 {
            let problem = format!("{place} has the SHA-256 {}, not {}", archive.sha256, self.sha256);
            return Err(ToolError::Untrusted(format!("{problem}; get {release} from its vendor again")));
        }
        Ok(Fetched::Archive(archive))
    }
}

/// What an archive's name says that it is.
fn release(name: &str) -> Option<Release> {
    let stem = name.strip_suffix(".zip").or_else(|| name.strip_suffix(".tar.gz"))?;
    let mut parts = stem.split('_');
    let (kind, version, os, arch) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let kind = EngineKind::ALL.into_iter().find(|known| known.program() == kind)?;
    let is_whole = parts.next().is_none() && !os.is_empty() && !arch.is_empty();
    let platform = Platform { os: os.to_owned(), arch: arch.to_owned() };
    Some(Release { kind, version: Version::parse(version).ok()?, platform }).filter(|_| is_whole)
}
