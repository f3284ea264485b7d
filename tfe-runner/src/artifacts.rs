//! Reading what a run left. Its programs could put anything there: links to files of the server, pipes that never
//! end, devices, more bytes than there is memory.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
};

/// Reads a plain file of bounded size below a root that the run could not replace. None if there is none.
///
/// No link is followed on the way, and the file has no second name. `path` is absolute.
pub(crate) fn read(root: &Path, path: &Path, limit_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(root, path)? else { return Ok(None) };
    let mut content = Vec::new();
    file.take(limit_bytes.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > limit_bytes {
        return Err(refused(path, &format!("has more than {limit_bytes} bytes")));
    }
    Ok(Some(content))
}

/// Opens such a file of any size.
pub(crate) fn open(root: &Path, path: &Path) -> io::Result<Option<File>> {
    let Some(file) = opened(root, path, OFlag::O_NONBLOCK | OFlag::O_NOCTTY)? else { return Ok(None) };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() != 1 {
        return Err(refused(path, "is not a plain file"));
    }
    Ok(Some(file))
}

/// What is in a directory, by name, and whether it is a directory too. None if there is none; no link is followed on the way.
pub(crate) fn list(root: &Path, path: &Path) -> io::Result<Option<Vec<(OsString, bool)>>> {
    let Some(directory) = opened(root, path, OFlag::O_DIRECTORY)? else { return Ok(None) };
    let entries = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    entries.map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?.is_dir())))).collect::<io::Result<_>>().map(Some)
}

fn opened(root: &Path, path: &Path, kind: OFlag) -> io::Result<Option<File>> {
    let relative = path.strip_prefix(root).map_err(|_| refused(path, "is not below the run's directory"))?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | kind;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let root = match File::open(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match openat2(&root, relative, OpenHow::new().flags(flags).resolve(resolve)) {
        Ok(descriptor) => Ok(Some(File::from(descriptor))),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::ELOOP | Errno::EXDEV | Errno::ENOTDIR) => Err(refused(path, "is reached through a link")),
        // A socket, or a pipe that nobody writes to.
        Err(Errno::ENXIO) => Err(refused(path, "is not a plain file")),
        Err(error) => Err(error.into()),
    }
}

fn refused(path: &Path, reason: &str) -> io::Error {
    io::Error::other(format!("{} {reason}", path.display()))
}

/// Where a directory of a configuration really is; a configuration may use links between its own directories.
pub(crate) fn directory(root: &Path, configuration: &Path, relative: &str) -> PathBuf {
    let named = configuration.join(relative.trim_matches('/'));
    // Compared with a root that has no links of its own, as its caller made it.
    let real = named.canonicalize().ok().zip(root.canonicalize().ok());
    real.and_then(|(real, root_real)| Some(root.join(real.strip_prefix(root_real).ok()?))).unwrap_or(named)
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use nix::{sys::stat::Mode, unistd::mkfifo};

    use super::*;

    #[test]
    fn a_plain_file_is_read_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let (root, secret) = (home.path().join("work"), home.path().join("secret"));
        fs::create_dir_all(root.join("made")).unwrap();
        fs::write(&secret, "secret").unwrap();
        fs::write(root.join("made/plain"), "plain").unwrap();
        fs::write(root.join("made/long"), "x".repeat(11)).unwrap();
        symlink(&secret, root.join("made/link")).unwrap();
        symlink("plain", root.join("made/near")).unwrap();
        symlink(home.path(), root.join("out")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        fs::hard_link(&secret, root.join("made/second")).unwrap();
        mkfifo(&root.join("made/pipe"), Mode::S_IRWXU).unwrap();
        let _listener = UnixListener::bind(root.join("made/socket")).unwrap();
        let read = |name: &str| read(&root, &root.join(name), 10);
        assert_eq!(read("made/plain").unwrap().unwrap(), b"plain");
        assert_eq!(read("made/none").unwrap(), None);
        let refused = ["link", "near", "second", "pipe", "socket", "long", "", "../../secret"].map(|name| format!("made/{name}"));
        for name in refused.iter().map(String::as_str).chain(["out/secret", "magic/etc/passwd", "made/plain/x"]) {
            assert!(read(name).is_err(), "{name}");
        }
        assert!(super::read(&root, &secret, 10).is_err(), "not below the root");
        fs::create_dir(root.join("made/inner")).unwrap();
        assert_eq!(list(&root, &root.join("none")).unwrap(), None);
        let listed = list(&root, &root.join("made")).unwrap().unwrap();
        assert!(listed.contains(&("inner".into(), true)) && listed.contains(&("plain".into(), false)), "{listed:?}");
        assert!(list(&root, &root.join("out")).is_err() && list(&root, home.path()).is_err());
    }
}
