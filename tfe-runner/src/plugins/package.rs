//! The files of a package: taken from a run that may have put anything there, and closed.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::artifacts;

/// Largest package; the largest providers have 700 MB.
const MAX_BYTES: u64 = 4 << 30;
/// Most files and directories of a package; most have three.
const MAX_ENTRIES: usize = 1000;
/// How the name of a provider's program begins (<https://developer.hashicorp.com/terraform/internals/provider-registry-protocol>).
const PROGRAM: &str = "terraform-provider-";
/// The bytes of an ELF header up to the machine, see elf(5).
const ELF_BYTES: usize = 20;

/// Copies a package if it has at most so many bytes. No link is followed, and none is copied.
pub(super) fn copy(work: &Path, source: &Path, target: &Path, limit_bytes: u64) -> io::Result<()> {
    let (mut entries, mut rest_bytes) = (0, limit_bytes.min(MAX_BYTES));
    let mut waiting = vec![PathBuf::new()];
    while let Some(inner) = waiting.pop() {
        for (name, is_directory) in artifacts::list(work, &source.join(&inner))?.unwrap_or_default() {
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(io::Error::other(format!("{} has more than {MAX_ENTRIES} files", source.display())));
            }
            let path = inner.join(name);
            if is_directory {
                fs::create_dir(target.join(&path))?;
                waiting.push(path);
            } else {
                rest_bytes -= copy_file(work, &source.join(&path), &target.join(&path), rest_bytes)?;
            }
        }
    }
    Ok(())
}

fn copy_file(work: &Path, source: &Path, target: &Path, limit_bytes: u64) -> io::Result<u64> {
    let from = artifacts::open(work, source)?.ok_or(io::ErrorKind::NotFound)?;
    let mode = if from.metadata()?.permissions().mode() & 0o111 == 0 { 0o600 } else { 0o700 };
    let mut to = OpenOptions::new().write(true).create_new(true).mode(mode).open(target)?;
    let copied = io::copy(&mut from.take(limit_bytes.saturating_add(1)), &mut to)?;
    if copied > limit_bytes {
        return Err(io::Error::other(format!("{} is too large, or the disk too full", source.display())));
    }
    Ok(copied)
}

/// Lets everybody read a package and nobody change it, on the disk too.
pub(super) fn close(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            close(&path)?;
            continue;
        }
        let file = File::open(&path)?;
        let is_program = file.metadata()?.permissions().mode() & 0o100 != 0;
        file.set_permissions(Permissions::from_mode(if is_program { 0o555 } else { 0o444 }))?;
        file.sync_all()?;
    }
    let directory = File::open(directory)?;
    directory.set_permissions(Permissions::from_mode(0o555))?;
    directory.sync_all()
}

/// Whether the program of a package is of the same system and processor as this one.
pub(super) fn is_for_this_machine(directory: &Path) -> io::Result<bool> {
    let own = header(Path::new("/proc/self/exe"))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PROGRAM) && header(&entry.path())? != own {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What an ELF header says: class and byte order, system, and processor. Linux has two numbers for itself.
fn header(path: &Path) -> io::Result<Option<[u8; 5]>> {
    let mut bytes = [0; ELF_BYTES];
    if File::open(path)?.read_exact(&mut bytes).is_err() || !bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let system = if bytes[7] == 3 { 0 } else { bytes[7] };
    Ok(Some([bytes[4], bytes[5], system, bytes[18], bytes[19]]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_second_names_are_not_copied() {
        let home = tempfile::tempdir().unwrap();
        let (work, secret) = (home.path().join("work"), home.path().join("secret"));
        fs::create_dir_all(work.join("good/inner")).unwrap();
        fs::write(work.join("good/inner/file"), "content").unwrap();
        fs::write(&secret, "secret").unwrap();
        let copied = |name: &str| {
            let target = home.path().join(format!("copy-of-{name}"));
            fs::create_dir(&target).unwrap();
            copy(&work, &work.join(name), &target, 7).map(|()| target)
        };
        assert_eq!(fs::read_to_string(copied("good").unwrap().join("inner/file")).unwrap(), "content");
        for (name, make) in [
            ("link", (|secret, path| symlink(secret, path)) as fn(&Path, &Path) -> io::Result<()>),
            ("second", |secret, path| fs::hard_link(secret, path)),
            ("above", |secret, path| symlink(secret.parent().unwrap(), path)),
        ] {
            fs::create_dir(work.join(name)).unwrap();
            make(&secret, &work.join(name).join("file")).unwrap();
            assert!(copied(name).is_err(), "{name}");
        }
        fs::create_dir(work.join("large")).unwrap();
        fs::write(work.join("large/file"), "contents").unwrap();
        assert!(copied("large").is_err());
        symlink("good", work.join("directory")).unwrap();
        assert!(copied("directory").is_err());
    }

    #[test]
    fn a_program_of_another_machine_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("terraform-provider-null_v1");
        assert!(is_for_this_machine(home.path()).unwrap());
        fs::copy("/proc/self/exe", &program).unwrap();
        assert!(is_for_this_machine(home.path()).unwrap());
        let own = fs::read(&program).unwrap();
        for (position, byte) in [(7, 9), (18, 0xb7), (4, 1), (0, 0)] {
            let mut other = own.clone();
            other[position] = byte;
            fs::write(&program, other).unwrap();
            assert!(!is_for_this_machine(home.path()).unwrap(), "{position}");
        }
    }
}
