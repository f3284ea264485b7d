//! Configuration archives: checked and unpacked without trusting them.
//!
//! The rules are the same for looking and for writing: nothing outside of the root, no special files, bounded count
//! and size. Symbolic links are made after all files, so that no file can be written through one.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Component, Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

/// Most entries in an archive: many times the largest configurations seen.
pub const MAX_ENTRIES: u64 = 100_000;
/// Most bytes that an archive may unpack to.
pub const MAX_UNPACKED_BYTES: u64 = 2 << 30;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read: damaged, cut off, or not an archive at all.
    #[error("it is not a whole gzip-compressed tar archive ({0}); upload it again")]
    Unreadable(#[source] io::Error),
    /// A path that leads out of the root.
    #[error("the entry {0:?} lies outside of the configuration; use paths below its directory")]
    Outside(PathBuf),
    /// A link that leads out of the root.
    #[error("the link {0:?} leads out of the configuration; copy its target into the configuration instead")]
    LinkOutside(PathBuf),
    /// Neither a file, a directory nor a link.
    #[error("the entry {0:?} is not a file, a directory or a link; leave it out")]
    Special(PathBuf),
    /// Too many entries.
    #[error("it has more than {MAX_ENTRIES} entries; leave out what terraform does not need, with .terraformignore")]
    TooManyEntries,
    /// Too large.
    #[error("it unpacks to more than {MAX_UNPACKED_BYTES} bytes; leave out what terraform does not need, with .terraformignore")]
    TooLarge,
    /// The disk did not take it.
    #[error("it could not be written: {0}")]
    Write(#[source] io::Error),
}

/// What an archive holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveSummary {
    /// How many entries.
    pub entries: u64,
    /// How many bytes in files.
    pub bytes: u64,
}

/// Looks through an archive without writing anything.
pub fn check(archive: impl Read) -> Result<ArchiveSummary, ArchiveError> {
    walk(archive, |_, _, _| Ok(()))
}

/// Unpacks an archive into a directory, which must exist.
pub fn unpack(archive: impl Read, root: &Path) -> Result<ArchiveSummary, ArchiveError> {
    let (mut hardlinks, mut symlinks) = (Vec::new(), Vec::new());
    let summary = walk(archive, |path, item, entry| {
        match item {
            Item::Directory => fs::create_dir_all(root.join(path)).map_err(ArchiveError::Write)?,
            Item::File => write(&root.join(path), entry)?,
            Item::Hardlink(target) => hardlinks.push((root.join(path), root.join(target))),
            Item::Symlink(target) => symlinks.push((root.join(path), target.clone())),
        }
        Ok(())
    })?;
    for (path, target) in hardlinks {
        make_room(&path).and_then(|()| fs::hard_link(target, path)).map_err(ArchiveError::Write)?;
    }
    for (path, target) in symlinks {
        make_room(&path).and_then(|()| symlink(target, path)).map_err(ArchiveError::Write)?;
    }
    Ok(summary)
}

/// What an entry is, with links that were checked.
enum Item {
    Directory,
    File,
    Symlink(PathBuf),
    Hardlink(PathBuf),
}

type Compressed<R> = MultiGzDecoder<R>;

fn walk<R: Read>(
    archive: R,
    mut visit: impl FnMut(&Path, &Item, &mut Entry<'_, Compressed<R>>) -> Result<(), ArchiveError>,
) -> Result<ArchiveSummary, ArchiveError> {
    let mut archive = Archive::new(MultiGzDecoder::new(archive));
    let mut summary = ArchiveSummary::default();
    for entry in archive.entries().map_err(ArchiveError::Unreadable)? {
        let mut entry = entry.map_err(ArchiveError::Unreadable)?;
        if matches!(entry.header().entry_type(), EntryType::XGlobalHeader) {
            continue;
        }
        summary.entries += 1;
        summary.bytes = summary.bytes.saturating_add(entry.size());
        if summary.entries > MAX_ENTRIES {
            return Err(ArchiveError::TooManyEntries);
        }
        if summary.bytes > MAX_UNPACKED_BYTES {
            return Err(ArchiveError::TooLarge);
        }
        let named = entry.path().map_err(ArchiveError::Unreadable)?.into_owned();
        let path = inside(Path::new(""), &named).ok_or_else(|| ArchiveError::Outside(named.clone()))?;
        let item = item(&entry, &named, &path)?;
        visit(&path, &item, &mut entry)?;
    }
    // The rest, up to the checksum: an archive that was cut off must not pass.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(ArchiveError::Unreadable)?;
    Ok(summary)
}

fn item<R: Read>(entry: &Entry<'_, R>, named: &Path, path: &Path) -> Result<Item, ArchiveError> {
    let target = || entry.link_name().ok().flatten().map(std::borrow::Cow::into_owned).unwrap_or_default();
    let outside = || ArchiveError::LinkOutside(named.to_owned());
    match entry.header().entry_type() {
        EntryType::Directory => Ok(Item::Directory),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Ok(Item::File),
        EntryType::Symlink => {
            let from = path.parent().unwrap_or(Path::new(""));
            inside(from, &target()).map(|_| Item::Symlink(target())).ok_or_else(outside)
        }
        EntryType::Link => inside(Path::new(""), &target()).map(Item::Hardlink).ok_or_else(outside),
        _ => Err(ArchiveError::Special(named.to_owned())),
    }
}

/// `path` as seen from `from`, with `.` and `..` resolved; none if that leaves the root. It is resolved by name,
/// which is right because nothing on the way is a link yet.
fn inside(from: &Path, path: &Path) -> Option<PathBuf> {
    let mut resolved = from.to_owned();
    for component in path.components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

fn write(path: &Path, entry: &mut impl Executable) -> Result<(), ArchiveError> {
    make_room(path).map_err(ArchiveError::Write)?;
    let mode = if entry.is_executable() { 0o755 } else { 0o644 };
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(ArchiveError::Write)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = entry.read(&mut buffer).map_err(ArchiveError::Unreadable)?;
        if length == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..length]).map_err(ArchiveError::Write)?;
    }
}

/// Makes the directory that a path is in, and removes what an earlier entry put there.
fn make_room(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file in an archive; of its mode only this counts.
trait Executable: Read {
    fn is_executable(&self) -> bool;
}

impl<R: Read> Executable for Entry<'_, R> {
    fn is_executable(&self) -> bool {
        self.header().mode().is_ok_and(|mode| mode & 0o100 != 0)
    }
}
