//! Files that must survive, and files that nobody else may have prepared.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// How often a lock is tried that is held: whoever only looks holds it for microseconds.
const LOCK_ATTEMPTS: u32 = 20;
/// Between two attempts.
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// Writes a file so that after a crash there is either the old one or the new one.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, File::sync_all)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a file so that whoever reads it finds either the old one or the new one. After a crash of the machine it may be neither.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, |_| Ok(()))
}

fn replace(path: &Path, content: &[u8], settle: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    settle(&file)?;
    fs::rename(&new, path)
}

/// Writes a file that nobody may have prepared: what was there is removed, a link is not followed.
pub(crate) fn write_fresh(path: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

/// Takes a lock for as long as the value lives, in a file that is made. Looking whether a lock [is held](is_locked) holds it
/// for a moment, so one failure says nothing.
pub(crate) fn lock(path: &Path) -> io::Result<Flock<File>> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    for _ in 1..LOCK_ATTEMPTS {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((unlocked, Errno::EAGAIN)) => file = unlocked,
            locked => return locked.map_err(|(_, error)| error.into()),
        }
        thread::sleep(LOCK_PAUSE);
    }
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error.into())
}

/// Whether somebody holds a lock.
pub(crate) fn is_locked(path: &Path) -> bool {
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return false };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
}

/// Makes a directory that only this user can enter.
pub(crate) fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes a directory that a run has filled, while nothing of it runs. What is not there is removed already.
///
/// A run can make directories deeper than a path is long or a stack is high. So each is moved up before it is emptied,
/// and nothing is looked at that is more than two levels down.
pub(crate) fn remove_tree(root: &Path) -> io::Result<()> {
    let mut waiting = vec![root.to_owned()];
    let mut emptied = Vec::new();
    let mut moved = 0_u64;
    while let Some(directory) = waiting.pop() {
        let entries = match entries(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
                continue;
            }
            let up = loop {
                let name = root.join(format!("{moved}.removed"));
                moved += 1;
                if !name.exists() {
                    break name;
                }
            };
            fs::rename(entry.path(), &up)?;
            waiting.push(up);
        }
        emptied.push(directory);
        if waiting.is_empty() {
            // The root, which is the first, is empty last.
            for directory in emptied.drain(..).rev() {
                fs::remove_dir(directory)?;
            }
        }
    }
    Ok(())
}

/// What is in a directory, which its owner may have closed.
fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    let read = || fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>();
    match fs::symlink_metadata(directory) {
        Ok(found) if found.is_dir() && found.permissions().mode() & 0o700 != 0o700 => {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
            read()
        }
        _ => read(),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use super::*;

    #[test]
    fn a_lock_is_taken_though_others_look_at_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("lock");
        let is_over = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        is_locked(&path);
                    }
                });
            }
            let failures = (0..200).filter(|_| lock(&path).is_err()).count();
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(failures, 0);
        });
        let held = lock(&path).unwrap();
        assert!(is_locked(&path) && lock(&path).is_err());
        drop(held);
        assert!(!is_locked(&path));
    }

    #[test]
    fn a_directory_is_removed_however_deep_and_closed_it_is() {
        let home = tempfile::tempdir().unwrap();
        let (root, other) = (home.path().join("root"), home.path().join("other"));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(root.join("0.removed/1.removed")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("kept"), "").unwrap();
        symlink(&other, root.join("a/link")).unwrap();
        let script = "chdir shift; for (1..6000) { mkdir 'd'; chdir 'd' or die } open(F, '>', 'file')";
        assert!(Command::new("perl").args(["-e", script]).arg(&root).status().unwrap().success());
        fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&root).unwrap();
        assert!(!root.exists() && other.join("kept").exists());
        remove_tree(&root).unwrap();
    }
}
