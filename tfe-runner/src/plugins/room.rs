//! How much the cache may have, and what goes when it has more: what nobody was given for the longest time.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use nix::sys::statvfs::statvfs;

use super::{DRAFT, Plugins, children, is_draft, ledger::Ledger};
use crate::files::remove_tree;

/// Some thirty of the largest providers.
pub(super) const LIMIT_BYTES: u64 = 20 << 30;

/// What is left of the disk in any case: runs keep their states there.
const RESERVE_BYTES: u64 = 1 << 30;

struct Kept {
    used_at: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl Plugins {
    /// Removes packages until the rest has at most so many bytes. What a run was given stays for as long as the run has its
    /// directory, so there may be more.
    pub(super) fn make_room(&self, limit_bytes: u64) -> io::Result<()> {
        let mut kept: Vec<_> = children(&self.root).filter(|path| !is_draft(path)).filter_map(|path| Kept::of(path).ok()).collect();
        let mut bytes: u64 = kept.iter().map(|kept| kept.bytes).sum();
        kept.sort_by_key(|kept| kept.used_at);
        for kept in kept {
            if bytes <= limit_bytes {
                break;
            }
            let gone = self.root.join(format!("{DRAFT}{}", kept.path.file_name().unwrap_or_default().to_string_lossy()));
            {
                let _places = self.places();
                if self.in_use().contains(&kept.path) {
                    continue;
                }
                fs::rename(&kept.path, &gone)?;
            }
            remove_tree(&gone)?;
            bytes -= kept.bytes;
        }
        Ok(())
    }

    /// What the disk has for packages.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let found = statvfs(&self.root)?;
        Ok((found.blocks_available() * found.fragment_size()).saturating_sub(RESERVE_BYTES))
    }

    /// What runs were given that are not over.
    fn in_use(&self) -> HashSet<PathBuf> {
        children(&self.work_root).filter_map(|work| Ledger::read(&work)).flat_map(|ledger| ledger.readable).collect()
    }
}

impl Kept {
    fn of(path: PathBuf) -> io::Result<Self> {
        Ok(Self { used_at: fs::metadata(&path)?.modified()?, bytes: size(&path)?, path })
    }
}

fn size(directory: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let found = entry.metadata()?;
        sum += if found.is_dir() { size(&entry.path())? } else { found.size() };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Duration};

    use super::*;
    use crate::{paths::Paths, plugins::package};

    /// A cache with packages of ten bytes each, the first used last.
    fn cache(home: &Path, names: &[&str]) -> Plugins {
        let plugins = Plugins::at(&home.join("plugins"), &home.join("work"));
        for (age, name) in (1..).zip(names) {
            let package = plugins.root.join(name);
            fs::create_dir_all(package.join("inner")).unwrap();
            fs::write(package.join("inner/program"), "0123456789").unwrap();
            package::close(&package).unwrap();
            File::open(&package).unwrap().set_modified(SystemTime::now() - Duration::from_hours(age)).unwrap();
        }
        plugins
    }

    fn names(plugins: &Plugins) -> Vec<String> {
        let mut names: Vec<_> = children(&plugins.root).map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let home = tempfile::tempdir().unwrap();
        let plugins = cache(home.path(), &["a", "b", "c", "d"]);
        plugins.make_room(40).unwrap();
        assert_eq!(names(&plugins), ["a", "b", "c", "d"]);
        plugins.make_room(25).unwrap();
        assert_eq!(names(&plugins), ["a", "b"]);
    }

    #[test]
    fn what_a_run_was_given_stays() {
        let home = tempfile::tempdir().unwrap();
        let plugins = cache(home.path(), &["a", "b", "c"]);
        let paths = Paths { work: home.path().join("work/run-1"), spool: home.path().join("spool") };
        fs::create_dir_all(paths.work.join("out")).unwrap();
        Ledger { lock: PathBuf::new(), locked: Vec::new(), readable: vec![plugins.root.join("c")] }.write(&paths).unwrap();
        plugins.make_room(0).unwrap();
        assert_eq!(names(&plugins), ["c"]);
        remove_tree(&paths.work).unwrap();
        plugins.make_room(0).unwrap();
        assert_eq!(names(&plugins), [""; 0]);
    }

    #[test]
    fn what_a_process_left_that_died_is_swept() {
        let home = tempfile::tempdir().unwrap();
        let plugins = cache(home.path(), &["a", ".draft-b"]);
        plugins.sweep();
        assert_eq!(names(&plugins), ["a"]);
    }
}
