//! A directory as a configuration to upload.

use std::{
    fs, io,
    path::{Component, Path},
};

use flate2::{Compression, write::GzEncoder};

/// Names that are never part of a configuration, wherever they are: what terraform and version control keep for themselves.
const NEVER: &[&str] = &[".git", ".terraform.tfstate.lock.info"];
/// How the names of local states and their backups begin; a state on the server must not come from a directory.
const STATE_PREFIX: &str = "terraform.tfstate";
/// The file with patterns of what to leave out, see [`pack`].
const IGNORE_FILE: &str = ".terraformignore";
/// How deep directories may be; a deeper tree is a mistake, or a trap.
const MAX_DEPTH: usize = 64;

/// Why a directory cannot be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// What.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A link leads out of the directory, where the server cannot follow.
    #[error("{path} is a link that leads out of the directory; copy what it points to, or name it in .terraformignore")]
    LinkOutside {
        /// Which.
        path: String,
    },
    /// There are too many levels.
    #[error("{path} has more than {MAX_DEPTH} levels of directories; choose another directory")]
    TooDeep {
        /// Where.
        path: String,
    },
}

type Archive = tar::Builder<GzEncoder<Vec<u8>>>;

/// Packs a directory without what no run needs: version control, local state, downloaded providers, and what its
/// `.terraformignore` names. Modules that `terraform init` fetched are kept.
///
/// A line of `.terraformignore` is a name, a path from the directory, or either with `*` in it for any text without a
/// slash; with a slash at the end it means directories only. `#` begins a comment. Exceptions with a leading `!` are
/// not supported and are skipped, so more is left out than with terraform, never less.
pub fn pack(directory: &Path) -> Result<Vec<u8>, PackError> {
    let ignored = Ignored::read(directory)?;
    let root = fs::canonicalize(directory).map_err(|source| unreadable(directory, source))?;
    let directory = root.as_path();
    let mut archive = new_archive();
    add_directory(&mut archive, directory, Path::new(""), &ignored, 0)?;
    finish(archive).map_err(|source| unreadable(directory, source))
}

/// Packs files given by name and content.
pub fn pack_files(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = new_archive();
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_bytes()).expect("memory takes everything");
    }
    finish(archive).expect("memory takes everything")
}

fn add_directory(archive: &mut Archive, root: &Path, inside: &Path, ignored: &Ignored, depth: usize) -> Result<(), PackError> {
    let path = root.join(inside);
    if depth > MAX_DEPTH {
        return Err(PackError::TooDeep { path: path.display().to_string() });
    }
    let entries = fs::read_dir(&path).and_then(std::iter::Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = entries.map_err(|source| unreadable(&path, source))?;
    // In order of names, so that the same directory gives the same archive.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let inside = inside.join(entry.file_name());
        let kind = entry.file_type().map_err(|source| unreadable(&entry.path(), source))?;
        if ignored.matches(&inside, kind.is_dir()) {
            continue;
        }
        if kind.is_dir() {
            add_directory(archive, root, &inside, ignored, depth + 1)?;
        } else if kind.is_symlink() {
            add_link(archive, root, &inside)?;
        } else if kind.is_file() {
            let added = archive.append_path_with_name(root.join(&inside), &inside);
            added.map_err(|source| unreadable(&entry.path(), source))?;
        }
    }
    Ok(())
}

fn add_link(archive: &mut Archive, root: &Path, inside: &Path) -> Result<(), PackError> {
    let path = root.join(inside);
    let target = fs::read_link(&path).map_err(|source| unreadable(&path, source))?;
    // The text may stay inside while a link on the way leads out; a target that does not exist has only its text.
    let is_really_outside = fs::canonicalize(&path).is_ok_and(|target| !target.starts_with(root));
    if is_really_outside || leads_outside(inside, &target) {
        return Err(PackError::LinkOutside { path: path.display().to_string() });
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_mode(0o777);
    archive.append_link(&mut header, inside, target).map_err(|source| unreadable(&path, source))
}

fn leads_outside(link: &Path, target: &Path) -> bool {
    let mut depth = link.components().count().saturating_sub(1);
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return true,
        }
    }
    false
}

/// What is left out.
#[derive(Debug, Default)]
struct Ignored(Vec<String>);

impl Ignored {
    /// A file that is there but cannot be read is an error: what it names may be secret.
    fn read(directory: &Path) -> Result<Self, PackError> {
        let path = directory.join(IGNORE_FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|source| unreadable(&path, source))?,
        };
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
        Ok(Self(lines.map(str::to_owned).collect()))
    }

    fn matches(&self, path: &Path, is_directory: bool) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if NEVER.contains(&name.as_ref()) || name.starts_with(STATE_PREFIX) {
            return true;
        }
        if path.parent().is_some_and(|parent| parent.ends_with(".terraform")) {
            return name != "modules";
        }
        self.0.iter().any(|pattern| fits(pattern, &path.to_string_lossy(), &name, is_directory))
    }
}

fn fits(pattern: &str, path: &str, name: &str, is_directory: bool) -> bool {
    let (pattern, only_directories) = match pattern.strip_suffix('/') {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    if only_directories && !is_directory {
        return false;
    }
    // Names fit at any level anyway, which is what this prefix asks for.
    let pattern = pattern.strip_prefix("**/").unwrap_or(pattern);
    if pattern.contains('/') { fits_text(pattern.trim_start_matches('/'), path) } else { fits_text(pattern, name) }
}

/// Whether the text is the pattern with any text without a slash for each star.
fn fits_text(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    let starred = rest.split('/').next().unwrap_or_default().len();
    (0..=starred).filter(|length| rest.is_char_boundary(*length)).any(|length| fits_text(after, &rest[length..]))
}

fn new_archive() -> Archive {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    archive.follow_symlinks(false);
    archive.mode(tar::HeaderMode::Deterministic);
    archive
}

fn finish(archive: Archive) -> io::Result<Vec<u8>> {
    archive.into_inner()?.finish()
}

fn unreadable(path: &Path, source: io::Error) -> PackError {
    PackError::Unreadable { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(archive: &[u8]) -> Vec<String> {
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(archive));
        tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect()
    }

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        directory
    }

    #[test]
    fn what_no_run_needs_is_left_out() {
        let directory = directory(&[
            "main.tf",
            "a/b.tf",
            ".git/config",
            "terraform.tfstate",
            "terraform.tfstate.1700000000.backup",
            ".terraform/providers/x",
            ".terraform/modules/modules.json",
            "notes.md",
            "big/file",
            "a/big",
            "deep/secret-1.auto.tfvars",
        ]);
        fs::write(directory.path().join(IGNORE_FILE), "# comment\n\n*.md\nbig/\ndeep/secret-*.tfvars\n!notes.md\n").unwrap();
        let packed = names(&pack(directory.path()).unwrap());
        assert_eq!(packed, [".terraform/modules/modules.json", ".terraformignore", "a/b.tf", "a/big", "main.tf"]);
    }

    #[test]
    fn links_stay_links_and_may_not_lead_out() {
        let directory = directory(&["a/b.tf"]);
        symlink("../a/b.tf", directory.path().join("a/c.tf")).unwrap();
        assert_eq!(names(&pack(directory.path()).unwrap()), ["a/b.tf", "a/c.tf"]);
        symlink("../../outside", directory.path().join("a/out")).unwrap();
        assert!(matches!(pack(directory.path()), Err(PackError::LinkOutside { .. })));
    }

    #[test]
    fn a_link_that_leads_out_through_another_is_refused() {
        let directory = directory(&["a/b/c.tf"]);
        symlink("..", directory.path().join("a/b/up")).unwrap();
        symlink("a/b/up/../..", directory.path().join("trick")).unwrap();
        assert!(matches!(pack(directory.path()), Err(PackError::LinkOutside { .. })));
    }
}
