//! What a dependency lock file says: <https://developer.hashicorp.com/terraform/language/files/dependency-lock>.
//!
//! Only what engines write themselves is understood. What is not costs a download.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::dirhash::hexadecimal;

/// As many providers as are looked at; configurations have a few.
const MAX_PROVIDERS: usize = 200;
/// The bytes of a SHA-256.
const HASH_LENGTH: usize = 32;

/// A provider that a lock file names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Locked {
    /// `HOST/NAMESPACE/TYPE`; each part is one name of a file.
    pub(super) address: String,
    /// One name of a file.
    pub(super) version: String,
    /// Its `h1:` hashes, one or more for each platform. Others are of archives, which are not kept.
    pub(super) hashes: Vec<String>,
}

/// The providers of a lock file.
pub(super) fn read(text: &str) -> Vec<Locked> {
    let mut found: Vec<Locked> = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("provider ").and_then(|rest| quoted(rest.strip_suffix('{')?.trim())) {
            found.push(Locked { address: address.to_owned(), version: String::new(), hashes: Vec::new() });
        } else if let Some(current) = found.last_mut() {
            if let Some(version) = line.strip_prefix("version").and_then(|rest| quoted(rest.trim().strip_prefix('=')?.trim())) {
                version.clone_into(&mut current.version);
            } else if let Some(hash) = quoted(line.trim_end_matches(',')).filter(|hash| key(hash).is_some()) {
                current.hashes.push(hash.to_owned());
            }
        }
    }
    found.retain(|locked| is_address(&locked.address) && is_name(&locked.version) && !locked.hashes.is_empty());
    found.truncate(MAX_PROVIDERS);
    found
}

/// What a package with that `h1:` hash is kept as; none if it is no such hash.
pub(super) fn key(hash: &str) -> Option<String> {
    let bytes = STANDARD.decode(hash.strip_prefix("h1:")?).ok()?;
    (bytes.len() == HASH_LENGTH).then(|| hexadecimal(&bytes))
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('"')?.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\', '$', '%']))
}

fn is_address(address: &str) -> bool {
    address.split('/').count() == 3 && address.split('/').all(is_name)
}

/// Whether a text is the name of a file that leads nowhere else.
fn is_name(text: &str) -> bool {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.+:".contains(character);
    !text.is_empty() && text.len() <= 255 && !text.starts_with('.') && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "h1:CFnENdqQu4g3LJNevA32aDxcUz2qGkRGQpFfkI8TCdE=";

    #[test]
    fn what_an_engine_wrote_is_read() {
        let text = format!(
            "# This file is maintained automatically.\n\nprovider \"registry.terraform.io/hashicorp/null\" {{\n  version     = \"2.1.2\"\n  \
             constraints = \"~> 2.0\"\n  hashes = [\n    \"{HASH}\",\n    \"zh:00\",\n  ]\n}}\n\nprovider \"localhost:8080/a/b\" {{\n  \
             version = \"1.0.0-beta+1\"\n  hashes = [\n    \"{HASH}\",\n  ]\n}}\n"
        );
        let found = read(&text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].address, "registry.terraform.io/hashicorp/null");
        assert_eq!((found[0].version.as_str(), found[0].hashes.as_slice()), ("2.1.2", &[HASH.to_owned()][..]));
        assert_eq!((found[1].address.as_str(), found[1].version.as_str()), ("localhost:8080/a/b", "1.0.0-beta+1"));
    }

    #[test]
    fn what_leads_elsewhere_is_not() {
        let locked = |address: &str, version: &str, hash: &str| {
            read(&format!("provider \"{address}\" {{\n  version = \"{version}\"\n  hashes = [\n    \"{hash}\",\n  ]\n}}\n"))
        };
        assert_eq!(locked("a/b/c", "1.0.0", HASH).len(), 1);
        for (address, version, hash) in [
            ("../b/c", "1.0.0", HASH),
            ("a//c", "1.0.0", HASH),
            ("a/b/c/d", "1.0.0", HASH),
            ("a/b/c", "..", HASH),
            ("a/b/c", "1/../..", HASH),
            ("a/b/${c}", "1.0.0", HASH),
            ("a/b/c", "1.0.0", "h1:AAAA"),
            ("a/b/c", "1.0.0", "zh:00"),
            ("a/b/c", "", HASH),
        ] {
            assert_eq!(locked(address, version, hash), [], "{address} {version} {hash}");
        }
        assert_eq!(read("version = \"1.0.0\"\n}{\"\nprovider {\n"), []);
    }
}
