//! A directory as a configuration to upload.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};

/// Names that are never part of a configuration, wherever they are: what terraform and version control keep for themselves.
const NEVER: &[&str] = &[".git", "terraform.tfstate", "terraform.tfstate.backup", ".terraform.tfstate.lock.info"];
/// The file with patterns of what to leave out: a name, `*.ending` or `directory/` per line.
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
pub fn pack(directory: &Path) -> Result<Vec<u8>, PackError> {
    let ignored = Ignored::read(directory);
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
    let entries = fs::read_dir(&path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
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
    if leads_outside(inside, &target) {
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
    fn read(directory: &Path) -> Self {
        let text = fs::read_to_string(directory.join(IGNORE_FILE)).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(lines.map(str::to_owned).collect())
    }

    fn matches(&self, path: &Path, is_directory: bool) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if NEVER.contains(&name.as_ref()) {
            return true;
        }
        if path.parent().is_some_and(|parent| parent.ends_with(".terraform")) {
            return name != "modules";
        }
        self.0.iter().any(|pattern| fits(pattern, path, &name, is_directory))
    }
}

fn fits(pattern: &str, path: &Path, name: &str, is_directory: bool) -> bool {
    let (pattern, only_directories) = match pattern.strip_suffix('/') {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    if only_directories && !is_directory {
        return false;
    }
    let pattern = pattern.strip_prefix("**/").unwrap_or(pattern);
    match (pattern.strip_prefix('*'), pattern.contains('/')) {
        (Some(ending), false) => name.ends_with(ending),
        (_, true) => path == PathBuf::from(pattern.trim_start_matches('/')),
        (None, false) => name == pattern,
    }
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
            ".terraform/providers/x",
            ".terraform/modules/modules.json",
            "notes.md",
            "big/file",
        ]);
        fs::write(directory.path().join(IGNORE_FILE), "# comment\n*.md\nbig/\n").unwrap();
        let packed = names(&pack(directory.path()).unwrap());
        assert_eq!(packed, [".terraform/modules/modules.json", ".terraformignore", "a/b.tf", "main.tf"]);
    }

    #[test]
    fn links_stay_links_and_may_not_lead_out() {
        let directory = directory(&["a/b.tf"]);
        symlink("../a/b.tf", directory.path().join("a/c.tf")).unwrap();
        assert_eq!(names(&pack(directory.path()).unwrap()), ["a/b.tf", "a/c.tf"]);
        symlink("../../outside", directory.path().join("a/out")).unwrap();
        assert!(matches!(pack(directory.path()), Err(PackError::LinkOutside { .. })));
    }
}
