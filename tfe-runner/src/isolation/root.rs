//! The root directory of a sandbox: made anew in memory, holding only what was put there.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statvfs::{FsFlags, statvfs},
    unistd::{Gid, Uid, chdir, pivot_root},
};

use super::{Sandbox, doing};

/// Programs and libraries.
pub(super) const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Files of `/etc` that programs need to find hosts and libraries; copied, since some are links to elsewhere.
pub(super) const ETC_COPIED: [&str; 10] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
];
/// Directories of `/etc` with authorities' certificates, and where programs are.
pub(super) const ETC_BOUND: [&str; 6] =
    ["/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/crypto-policies", "/etc/alternatives", "/etc/ld.so.conf.d"];
/// Devices that hold nothing.
pub(super) const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Where the new root is put together; it exists everywhere and what is in it stays reachable.
const BASE: &str = "/tmp";
/// Where the old root is meanwhile.
const OLD: &str = "/old";
/// For directories, copied files and links of the root itself.
const ROOT_OPTIONS: &str = "mode=0755,size=8m";

const NONE: Option<&str> = None;

/// Moves this process into a new root, for ever.
pub(super) fn build(sandbox: &Sandbox) -> io::Result<()> {
    let copied = ETC_COPIED.map(|path| (path, fs::read(path)));
    doing("the mounts", unshare(CloneFlags::CLONE_NEWNS))?;
    doing("the mounts", mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE))?;
    memory(Path::new(BASE), ROOT_OPTIONS)?;
    doing(BASE, chdir(BASE))?;
    fs::create_dir(Path::new(BASE).join(OLD.trim_start_matches('/')))?;
    doing("the root", pivot_root(".", OLD.trim_start_matches('/')))?;
    doing("the root", chdir("/"))?;
    temporary(sandbox)?;
    devices()?;
    for path in SYSTEM.iter().chain(&ETC_BOUND) {
        system(Path::new(path))?;
    }
    etc(sandbox, copied)?;
    for path in uncovered(&sandbox.readable) {
        bind(path, true)?;
    }
    for path in &sandbox.writable {
        bind(path, false)?;
    }
    processes()?;
    doing("the old root", umount2(OLD, MntFlags::MNT_DETACH))?;
    fs::remove_dir(OLD)?;
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    doing("the root", mount(NONE, "/", NONE, flags, NONE))
}

fn memory(target: &Path, options: &str) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    doing(target.display(), mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options)))
}

fn temporary(sandbox: &Sandbox) -> io::Result<()> {
    for path in ["/tmp", "/dev/shm"] {
        fs::create_dir_all(path)?;
        memory(Path::new(path), &format!("mode=1777,size={}", sandbox.limits.temporary_bytes))?;
    }
    fs::create_dir("/var")?;
    symlink("/tmp", "/var/tmp")
}

fn devices() -> io::Result<()> {
    for name in DEVICES {
        let target = Path::new("/dev").join(name);
        fs::write(&target, [])?;
        // A device must stay one, so none of the usual flags.
        doing(target.display(), mount(Some(&old(&target)), &target, NONE, MsFlags::MS_BIND, NONE))?;
    }
    symlink("/proc/self/fd", "/dev/fd")?;
    for (name, number) in [("stdin", 0), ("stdout", 1), ("stderr", 2)] {
        symlink(format!("/proc/self/fd/{number}"), Path::new("/dev").join(name))?;
    }
    Ok(())
}

/// A part of the system, which may be a link to another part, or not be there.
fn system(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(old(path)) {
        Ok(found) if found.is_symlink() => symlink(fs::read_link(old(path))?, path),
        Ok(_) => bind(path, true),
        Err(_) => Ok(()),
    }
}

fn etc(sandbox: &Sandbox, copied: [(&str, io::Result<Vec<u8>>); ETC_COPIED.len()]) -> io::Result<()> {
    fs::create_dir_all("/etc")?;
    for (path, content) in copied {
        if let Ok(content) = content {
            fs::write(path, content)?;
        }
    }
    let id = sandbox.user.unwrap_or_else(|| Uid::current().as_raw());
    let group = sandbox.user.unwrap_or_else(|| Gid::current().as_raw());
    fs::write("/etc/passwd", format!("run:x:{id}:{group}:run:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))?;
    fs::write("/etc/group", format!("run:x:{group}:\nnogroup:x:65534:\n"))
}

/// The paths that are not below a part of the system or below another of them, outer ones first.
fn uncovered(paths: &[PathBuf]) -> Vec<&Path> {
    let mut paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    paths.sort();
    let mut outer: Vec<&Path> = Vec::new();
    for path in paths {
        let is_covered = SYSTEM.iter().map(Path::new).chain(outer.iter().copied()).any(|covering| path.starts_with(covering));
        if !is_covered {
            outer.push(path);
        }
    }
    outer
}

/// Shows a path of the old root at the same place of the new one.
fn bind(path: &Path, is_read_only: bool) -> io::Result<()> {
    let source = resolved(path)?;
    if source.is_dir() {
        fs::create_dir_all(path)?;
    } else {
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, [])?;
    }
    doing(path.display(), mount(Some(&source), path, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE))?;
    let mut flags = kept_flags(path)? | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_RDONLY, is_read_only);
    doing(path.display(), mount(NONE, path, NONE, flags, NONE))
}

/// Where a path is in the old root, with its links followed there.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    /// As many links as the kernel follows.
    const MAX_LINKS: usize = 40;
    let mut found = PathBuf::from("/");
    let mut rest: Vec<_> = path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            found.pop();
            continue;
        }
        let next = found.join(&part);
        if doing(path.display(), fs::symlink_metadata(old(&next)))?.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::other(format!("{}: too many links", path.display())));
            }
            rest.extend(fs::read_link(old(&next))?.components().rev().map(|part| part.as_os_str().to_owned()));
        } else {
            found = next;
        }
    }
    Ok(old(&found))
}

/// Flags that a mount has already: some must not be taken away.
fn kept_flags(path: &Path) -> io::Result<MsFlags> {
    let known = [
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let flags = doing(path.display(), statvfs(path))?.flags();
    Ok(known.into_iter().filter(|(has, _)| flags.contains(*has)).map(|(_, kept)| kept).collect())
}

/// Its own processes; where that is not allowed, as in containers, those of all, of which it can see no more than that
/// they are there; where that is not allowed either, none, and engines do without.
fn processes() -> io::Result<()> {
    fs::create_dir_all("/proc")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let bound = || mount(Some("/old/proc"), "/proc", NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE);
    let _ = mount(Some("proc"), "/proc", Some("proc"), flags, NONE).or_else(|_| bound());
    Ok(())
}

/// A path as it was before.
fn old(path: &Path) -> PathBuf {
    Path::new(OLD).join(path.strip_prefix("/").unwrap_or(path))
}
