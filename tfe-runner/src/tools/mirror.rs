//! The releases of a vendor, or a mirror of them: a directory or a web site in the vendor's layout.
//!
//! A list of checksums names the archives of a version, and the vendor's signature vouches for the list. The index is
//! only asked for what there is; it vouches for nothing.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use semver::Version;
use serde::Deserialize;

use super::{
    error::ToolError,
    location::Location,
    signature::Keys,
    source::{Fetched, Release, ToolSource},
    sums,
};
use crate::job::EngineKind;

/// Where the files of an engine are below a mirror's base, or anywhere if they begin with `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The list of versions: `{"versions": {"1.11.4": …}}` as HashiCorp has it, or `{"versions": [{"id": "1.8.0", …}]}`
    /// as OpenTofu has it. Not needed in a directory.
    pub index: String,
    /// Where a file is, with `{version}` and `{file}` for what they say.
    pub files: String,
}

/// A directory or web site with releases.
#[derive(Debug, Clone)]
pub struct Mirror {
    base: Location,
    terraform: Layout,
    tofu: Layout,
    keys: Option<PathBuf>,
}

impl Layout {
    /// The vendor's: that of releases.hashicorp.com, and that of OpenTofu's downloads below `tofu/`.
    pub fn of(kind: EngineKind) -> Self {
        let (index, files) = match kind {
            EngineKind::Terraform => ("terraform/index.json", "terraform/{version}/{file}"),
            EngineKind::Tofu => ("tofu/api.json", "tofu/v{version}/{file}"),
        };
        Self { index: index.to_owned(), files: files.to_owned() }
    }

    fn file(&self, release: &Release, name: &str) -> String {
        self.files.replace("{version}", &release.version.to_string()).replace("{file}", name)
    }
}

impl Mirror {
    /// Releases below this place, signed by their vendor, whose key is `hashicorp.asc` or `opentofu.asc` in it.
    pub fn new(base: Location) -> Self {
        Self { base, terraform: Layout::of(EngineKind::Terraform), tofu: Layout::of(EngineKind::Tofu), keys: None }
    }

    /// Trusts the public keys in this file, and only these.
    #[must_use]
    pub fn with_keys(mut self, keys: Option<PathBuf>) -> Self {
        self.keys = keys;
        self
    }

    /// Looks for an engine's files elsewhere.
    #[must_use]
    pub fn with_layout(mut self, kind: EngineKind, layout: Layout) -> Self {
        match kind {
            EngineKind::Terraform => self.terraform = layout,
            EngineKind::Tofu => self.tofu = layout,
        }
        self
    }

    fn layout(&self, kind: EngineKind) -> &Layout {
        match kind {
            EngineKind::Terraform => &self.terraform,
            EngineKind::Tofu => &self.tofu,
        }
    }

    fn place(&self, release: &Release, name: &str) -> Result<Location, ToolError> {
        self.base.join(&self.layout(release.kind).file(release, name))
    }

    /// The list of checksums of a release, after its signature was checked.
    async fn checksums(&self, release: &Release) -> Result<String, ToolError> {
        let name = format!("{}_{}_SHA256SUMS", release.kind.program(), release.version);
        let sums = self.place(release, &name)?;
        let missing = || ToolError::Missing(format!("{} {} is not in {}", release.kind.program(), release.version, self.base));
        let list = sums.read().await?.ok_or_else(missing)?;
        let place = self.place(release, &format!("{name}{}", signature_suffix(release.kind)))?;
        let unsigned = || ToolError::Untrusted(format!("{sums} is not signed: there is no {place}; copy it from the vendor too"));
        let signature = place.read().await?.ok_or_else(unsigned)?;
        self.trusted(release.kind).await?.check(&list, &signature)?;
        String::from_utf8(list).map_err(|_| ToolError::Untrusted(format!("{sums} is not a text; copy it from the vendor again")))
    }

    async fn trusted(&self, kind: EngineKind) -> Result<Keys, ToolError> {
        if let Some(file) = &self.keys {
            let absent = || ToolError::Untrusted(format!("there are no public keys at {}; correct TFE_TOOLS_KEYS", file.display()));
            return Keys::parse(&Location::Path(file.clone()).read().await?.ok_or_else(absent)?);
        }
        let name = match kind {
            EngineKind::Terraform => "hashicorp.asc",
            EngineKind::Tofu => "opentofu.asc",
        };
        let place = self.base.join(name)?;
        let absent = || {
            let wanted = format!("there is no public key to check {} with: put the vendor's at {place}", kind.title());
            ToolError::Untrusted(wanted + ", or name a file with it in TFE_TOOLS_KEYS")
        };
        Keys::parse(&place.read().await?.ok_or_else(absent)?)?.of_vendor(kind)
    }
}

#[async_trait]
impl ToolSource for Mirror {
    async fn list(&self, kind: EngineKind) -> Result<Vec<Version>, ToolError> {
        let layout = self.layout(kind);
        if let Location::Path(_) = &self.base {
            let directories = layout.files.split("{version}").next().unwrap_or_default();
            let (parent, prefix) = directories.rsplit_once('/').unwrap_or(("", directories));
            let names = self.base.join(parent)?.names();
            return Ok(names.iter().filter_map(|name| Version::parse(name.strip_prefix(prefix)?).ok()).collect());
        }
        let place = self.base.join(&layout.index)?;
        let Some(index) = place.read().await? else { return Ok(Vec::new()) };
        let wrong = |error| ToolError::Unavailable(format!("{place} is not an index of versions ({error}); correct the mirror's address"));
        Ok(serde_json::from_slice::<Index>(&index).map_err(wrong)?.versions())
    }

    async fn fetch(&self, release: &Release, downloads: &Path) -> Result<Fetched, ToolError> {
        let list = self.checksums(release).await?;
        for suffix in archive_suffixes(release.kind) {
            let name = format!("{release}{suffix}");
            let Some(digest) = sums::digest(&list, &name) else { continue };
            let place = self.place(release, &name)?;
            let Some(archive) = place.download(downloads).await? else { continue };
            if archive.sha256 != digest {
                let problem = format!("{place} has the SHA-256 {}, but its vendor signed {digest}", archive.sha256);
                return Err(ToolError::Untrusted(format!("{problem}; copy it from the vendor again")));
            }
            return Ok(Fetched::Archive(archive));
        }
        Err(ToolError::Missing(format!("{} has no archive of {release}; add it, or choose another version", self.base)))
    }
}

/// How the archives end, the one that every mirror has first (OpenTofu's mirror specification: tar.gz).
const fn archive_suffixes(kind: EngineKind) -> &'static [&'static str] {
    match kind {
        EngineKind::Terraform => &[".zip"],
        EngineKind::Tofu => &[".tar.gz", ".zip"],
    }
}

/// How the signature ends; OpenTofu's `.sig` is one of another kind.
const fn signature_suffix(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Terraform => ".sig",
        EngineKind::Tofu => ".gpgsig",
    }
}

/// Either vendor's list of versions.
#[derive(Deserialize)]
struct Index {
    versions: Versions,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Versions {
    Named(serde_json::Map<String, serde_json::Value>),
    Listed(Vec<Listed>),
}

#[derive(Deserialize)]
struct Listed {
    id: String,
}

impl Index {
    /// What cannot be compared is left out: early versions of other forms.
    fn versions(self) -> Vec<Version> {
        let names: Vec<String> = match self.versions {
            Versions::Named(named) => named.into_iter().map(|(name, _)| name).collect(),
            Versions::Listed(listed) => listed.into_iter().map(|listed| listed.id).collect(),
        };
        names.iter().filter_map(|name| Version::parse(name).ok()).collect()
    }
}
