//! Versions of the engines, as site administrators manage them: which there are, where they come from, and which one
//! a run gets.
//!
//! As long as none is registered for an engine, runs resolve their version among what is installed on the runner. From
//! the first one on, the list is the law: the server resolves a run's constraint when the run is created, so that its
//! apply gets the version of its plan whatever is registered in between.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::{error::Invalid, id::Id, record, record::Field, time::Timestamp, version::Constraint, workspace::Engine};

/// Most versions of one engine: several times as many as either vendor has ever released.
pub const MAX_VERSIONS: u64 = 1_000;
/// Most builds of one version: every system and architecture that the engines are built for.
pub const MAX_BUILDS: usize = 32;
/// Longest URL of a build.
pub const MAX_URL_LENGTH: usize = 2_048;
/// How many hexadecimal digits a SHA-256 has.
const SHA_LENGTH: usize = 64;
/// How many versions a message names: enough to choose from, short enough to read.
const MAX_NAMED: usize = 5;
/// The system and architecture that `url` and `sha` without `archs` are about (Terraform Enterprise API,
/// terraform-versions: it knew no other ones at first).
const DEFAULT_PLATFORM: (&str, &str) = ("linux", "amd64");

/// A version of an engine that this installation knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineVersion {
    /// Its id.
    pub id: Id<EngineVersion>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Of which engine.
    pub engine: Engine,
    /// What site administrators say about it.
    pub settings: EngineVersionSettings,
}

/// What site administrators say about a version. Stored and accepted in this one form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EngineVersionSettings {
    /// Three numbers and a pre-release if need be, such as `1.11.4`; unique for the engine.
    pub version: String,
    /// Its builds, at most one for each system and architecture.
    #[serde(default, rename = "archs")]
    pub builds: Vec<Build>,
    /// Whether it is the vendor's own.
    #[serde(default)]
    pub official: bool,
    /// Whether runs may use it.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether it is for trials: `latest` and ranges pass it by, and only its exact name gets it.
    #[serde(default)]
    pub beta: bool,
    /// Whether runs that use it are warned.
    #[serde(default)]
    pub deprecated: bool,
    /// Why it is deprecated; dropped when it is not.
    #[serde(default)]
    pub deprecated_reason: Option<String>,
}

/// The archive of a version for one system and architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Where it is: an `https` or `http` URL, or the absolute path of a file on the runners.
    pub url: String,
    /// The archive's SHA-256 in hexadecimal; what has another one is not used.
    pub sha: String,
    /// The system in Go's words, such as `linux`.
    pub os: String,
    /// The architecture in Go's words, such as `amd64`.
    pub arch: String,
}

record!(EngineVersion, ENGINE_VERSIONS = "engine_versions", prefix: "tool",
    fields: [
        Field::at("engine", &["engine"]),
        Field::at("name", &["settings", "version"]),
    ],
    unique: [&["engine", "name"]],
    indexes: []);

fn yes() -> bool {
    true
}

/// The version that a run gets which wants `wanted`: the newest enabled one that fits. None when nothing is registered
/// for its engine, which leaves the choice to the runner. The error says what to choose instead.
pub fn resolve<'v>(registered: &'v [EngineVersion], engine: Engine, wanted: &str) -> Result<Option<&'v EngineVersion>, Invalid> {
    let constraint = Constraint::parse(wanted)?;
    let mut known: Vec<_> = registered.iter().filter(|version| version.engine == engine).filter_map(Known::of).collect();
    if known.is_empty() {
        return Ok(None);
    }
    known.sort_by(|a, b| b.number.cmp(&a.number));
    let fits = |known: &&Known<'_>| constraint.matches(&known.number) && (constraint.is_exact() || !known.record.settings.beta);
    match known.iter().filter(fits).find(|known| known.record.settings.enabled) {
        Some(found) => Ok(Some(found.record)),
        None => Err(unavailable(&known, engine, wanted, known.iter().filter(fits))),
    }
}

impl EngineVersion {
    /// Its number, for comparing; text that is none sorts first.
    pub fn number(&self) -> Option<Version> {
        Version::parse(&self.settings.version).ok()
    }

    /// What whoever uses it should know and do, if it is deprecated.
    pub fn warning(&self) -> Option<String> {
        let EngineVersionSettings { version, deprecated, deprecated_reason, .. } = &self.settings;
        let reason = deprecated_reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let title = title(self.engine);
        deprecated.then(|| format!("{title} {version} is deprecated here{reason}; choose a newer version in the workspace's settings"))
    }
}

impl EngineVersionSettings {
    /// Takes `url` and `sha`, which say the same as an entry of `archs` for linux on amd64 and win over it.
    #[must_use]
    pub fn with_default_build(mut self, url: Option<String>, sha: Option<String>) -> Self {
        if url.is_none() && sha.is_none() {
            return self;
        }
        let (os, arch) = DEFAULT_PLATFORM;
        let place = self.builds.iter().position(|build| build.is_for(os, arch)).unwrap_or_else(|| {
            self.builds.insert(0, Build { url: String::new(), sha: String::new(), os: os.to_owned(), arch: arch.to_owned() });
            0
        });
        let present = &mut self.builds[place];
        present.url = url.unwrap_or_else(|| std::mem::take(&mut present.url));
        present.sha = sha.unwrap_or_else(|| std::mem::take(&mut present.sha));
        self
    }

    /// What `url` and `sha` show: the build for linux on amd64.
    pub fn default_build(&self) -> Option<&Build> {
        self.build(DEFAULT_PLATFORM.0, DEFAULT_PLATFORM.1)
    }

    /// The build for a system and architecture.
    pub fn build(&self, os: &str, arch: &str) -> Option<&Build> {
        self.builds.iter().find(|build| build.is_for(os, arch))
    }

    /// Checks what types cannot say, and brings it to the form in which it is kept.
    pub fn checked(mut self) -> Result<Self, Invalid> {
        match Version::parse(&self.version) {
            Ok(version) if version.build.is_empty() => self.version = version.to_string(),
            _ => return Err(Invalid::attribute("version", "Version must be three numbers, such as 1.11.4 or 1.12.0-rc1")),
        }
        if self.builds.is_empty() || self.builds.len() > MAX_BUILDS {
            let detail = format!("Give url and sha of the archive, or archs with 1 to {MAX_BUILDS} entries of url, sha, os and arch");
            return Err(Invalid::attribute("archs", detail));
        }
        self.builds = self.builds.into_iter().map(Build::checked).collect::<Result<_, _>>()?;
        for (place, build) in self.builds.iter().enumerate() {
            if self.builds[..place].iter().any(|earlier| earlier.is_for(&build.os, &build.arch)) {
                return Err(Invalid::attribute("archs", format!("There are two entries for {} on {}; keep one", build.os, build.arch)));
            }
        }
        self.deprecated_reason = self.deprecated_reason.filter(|_| self.deprecated);
        Ok(self)
    }
}

impl Build {
    /// Whether it is for this system and architecture.
    pub fn is_for(&self, os: &str, arch: &str) -> bool {
        self.os == os && self.arch == arch
    }

    fn checked(mut self) -> Result<Self, Invalid> {
        let is_url = ["https://", "http://"].iter().any(|scheme| self.url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
        if !(is_url || self.url.starts_with('/')) || self.url.len() > MAX_URL_LENGTH {
            let detail = "Url must be an https or http URL of the archive, or the absolute path of a file on the runners";
            return Err(Invalid::attribute("url", detail));
        }
        self.sha = self.sha.trim().to_ascii_lowercase();
        if self.sha.len() != SHA_LENGTH || !self.sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Invalid::attribute("sha", "Sha must be the SHA-256 of the archive: 64 hexadecimal digits"));
        }
        let is_word =
            |word: &str| (1..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !is_word(&self.os) || !is_word(&self.arch) {
            return Err(Invalid::attribute("archs", "Os and arch must be as in the archive's name, such as linux and amd64"));
        }
        Ok(self)
    }
}

/// A version with its number.
struct Known<'v> {
    number: Version,
    record: &'v EngineVersion,
}

impl<'v> Known<'v> {
    fn of(record: &'v EngineVersion) -> Option<Self> {
        record.number().map(|number| Self { number, record })
    }
}

fn unavailable<'k, 'v: 'k>(known: &[Known<'v>], engine: Engine, wanted: &str, fitting: impl Iterator<Item = &'k Known<'v>>) -> Invalid {
    let (title, fitting) = (title(engine), named(fitting));
    let enabled = named(known.iter().filter(|known| known.record.settings.enabled));
    let why = match fitting.as_str() {
        "" => format!("no version of {title} here fits \"{wanted}\""),
        fitting => format!("{title} {fitting} is disabled here"),
    };
    let choice = match enabled.as_str() {
        "" => "no version is enabled".to_owned(),
        enabled => format!("choose another in the workspace's settings ({enabled})"),
    };
    Invalid::attribute("terraform-version", format!("{why}; {choice}, or ask a site administrator to enable or add it"))
}

fn named<'k, 'v: 'k>(known: impl Iterator<Item = &'k Known<'v>>) -> String {
    known.take(MAX_NAMED).map(|known| known.record.settings.version.as_str()).collect::<Vec<_>>().join(", ")
}

const fn title(engine: Engine) -> &'static str {
    match engine {
        Engine::Terraform => "Terraform",
        Engine::Tofu => "OpenTofu",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(version: &str) -> EngineVersionSettings {
        let text = serde_json::json!({ "version": version });
        serde_json::from_value::<EngineVersionSettings>(text).unwrap().with_default_build(Some("/srv/e.zip".into()), Some("AB".repeat(32)))
    }

    fn version(text: &str, change: impl Fn(&mut EngineVersionSettings)) -> EngineVersion {
        let mut settings = settings(text);
        change(&mut settings);
        EngineVersion { id: Id::from("tool-1"), created_at: Timestamp::from_millis(0), engine: Engine::Terraform, settings }
    }

    fn resolved(registered: &[EngineVersion], wanted: &str) -> String {
        match resolve(registered, Engine::Terraform, wanted) {
            Ok(found) => found.map_or("the runner's choice".to_owned(), |found| found.settings.version.clone()),
            Err(invalid) => invalid.detail,
        }
    }

    #[test]
    fn the_newest_enabled_one_that_fits_is_chosen() {
        let registered = [
            version("1.9.8", |_| {}),
            version("1.10.0", |_| {}),
            version("1.11.4", |settings| settings.enabled = false),
            version("1.12.0", |settings| settings.beta = true),
            version("1.13.0-rc1", |_| {}),
        ];
        for (wanted, chosen) in [
            ("latest", "1.10.0"),
            ("~> 1.9.0", "1.9.8"),
            (">= 1.9", "1.10.0"),
            ("1.9.8", "1.9.8"),
            ("1.12.0", "1.12.0"),
            ("1.13.0-rc1", "1.13.0-rc1"),
        ] {
            assert_eq!(resolved(&registered, wanted), chosen, "{wanted}");
        }
    }

    #[test]
    fn what_is_disabled_or_unknown_is_refused_with_what_to_do() {
        let registered = [version("1.9.8", |_| {}), version("1.11.4", |settings| settings.enabled = false)];
        let disabled = "Terraform 1.11.4 is disabled here; choose another in the workspace's settings (1.9.8), \
                        or ask a site administrator to enable or add it";
        for wanted in ["1.11.4", "~> 1.11.0"] {
            assert_eq!(resolved(&registered, wanted), disabled);
        }
        assert!(resolved(&registered, "2.0.0").starts_with("no version of Terraform here fits \"2.0.0\"; choose another"));
        assert!(resolved(&registered[1..], "latest").contains("no version is enabled"));
        assert!(resolved(&registered, "~>").contains("is not a version constraint"));
    }

    #[test]
    fn nothing_registered_for_the_engine_leaves_the_choice_to_the_runner() {
        let tofu = EngineVersion { engine: Engine::Tofu, ..version("1.8.0", |_| {}) };
        assert_eq!(resolved(&[tofu], "latest"), "the runner's choice");
    }

    #[test]
    fn only_a_deprecated_version_warns_and_it_says_what_to_do() {
        assert_eq!(version("1.9.8", |_| {}).warning(), None);
        let deprecated = version("1.9.8", |settings| {
            settings.deprecated = true;
            settings.deprecated_reason = Some("ends in May".into());
        });
        let warning = "Terraform 1.9.8 is deprecated here (ends in May); choose a newer version in the workspace's settings";
        assert_eq!(deprecated.warning().as_deref(), Some(warning));
    }

    #[test]
    fn url_and_sha_are_the_build_for_linux_on_amd64() {
        let arm = Build { url: "https://a".into(), sha: "b".repeat(64), os: "linux".into(), arch: "arm64".into() };
        let both = EngineVersionSettings { builds: vec![arm], ..settings("1.9.8") }.with_default_build(Some("https://b".into()), None);
        assert_eq!(both.default_build().map(|build| build.url.as_str()), Some("https://b"));
        assert!(both.clone().checked().is_err(), "a URL without a sha");
        let whole = both.with_default_build(None, Some("C".repeat(64))).checked().unwrap();
        assert_eq!(whole.default_build().map(|build| build.sha.clone()), Some("c".repeat(64)));
        assert_eq!(whole.builds.len(), 2);
        assert!(whole.build("linux", "arm64").is_some() && whole.build("darwin", "arm64").is_none());
    }

    #[test]
    fn what_cannot_be_fetched_or_checked_is_refused() {
        assert!(settings("1.9.8").checked().is_ok());
        for wrong in ["1.9", "v1.9.8", "1.9.8+me", "latest", ""] {
            assert!(settings(wrong).checked().is_err(), "{wrong}");
        }
        let with = |change: &dyn Fn(&mut EngineVersionSettings)| version("1.9.8", change).settings.checked();
        assert!(with(&|settings| settings.builds.clear()).is_err());
        assert!(with(&|settings| settings.builds.push(settings.builds[0].clone())).is_err(), "twice the same");
        for url in ["", "terraform.zip", "ftp://host/a", "https://"] {
            assert!(with(&|settings| settings.builds[0].url = url.into()).is_err(), "{url}");
        }
        assert!(with(&|settings| settings.builds[0].sha = "12".into()).is_err());
        assert!(with(&|settings| settings.builds[0].arch = "../amd64".into()).is_err());
        let reason = with(&|settings| settings.deprecated_reason = Some("old".into())).unwrap().deprecated_reason;
        assert_eq!(reason, None, "no reason without deprecation");
    }
}
