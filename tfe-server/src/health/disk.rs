//! The disk below the data directory, and the space that is kept for runs in progress.
//!
//! When a disk fills up, what a run has made in the world must still be written down. So new work is refused while
//! some space is left, and a file that only takes up space is given up when even that is gone.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::sys::statvfs::statvfs;

/// New work is refused when less than this is free, or less than a fiftieth of a small disk.
const LOW_BYTES: u64 = 64 << 20;
/// Work is taken again when so many times that is free, so that the answer does not change with every write.
const RECOVERED_FACTOR: u64 = 2;
/// The space that is kept back for runs in progress.
const RESERVE_BYTES: u64 = 16 << 20;
/// The reserve is given up when less than this is free.
const EMPTY_BYTES: u64 = 4 << 20;
/// The reserve is at most this part of the disk.
const RESERVE_FRACTION: u64 = 16;
const RESERVE_NAME: &str = "reserve";
/// Bytes that are written at once to make the reserve.
const PIECE: usize = 1 << 20;

/// A disk that is watched.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    /// Whether the last look found it full.
    full: std::sync::atomic::AtomicBool,
}

/// The size of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Space {
    free: u64,
    total: u64,
}

impl Disk {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, full: std::sync::atomic::AtomicBool::new(false) }
    }

    /// Looks at the disk, gives up the reserve or makes it again, and says whether new work can be taken.
    pub(crate) fn check(&self) -> Result<(), String> {
        use std::sync::atomic::Ordering::Relaxed;
        let space = space(&self.directory).map_err(|error| format!("{}: {error}", self.directory.display()))?;
        let full = space.is_full(self.full.load(Relaxed));
        self.full.store(full, Relaxed);
        let reserve = self.directory.join(RESERVE_NAME);
        if space.free < EMPTY_BYTES {
            give_up(&reserve);
        } else if !full && !reserve.exists() {
            // Without a reserve there is only less room for what is in progress.
            let _ = make(&reserve, RESERVE_BYTES.min(space.total / RESERVE_FRACTION));
        }
        if full {
            let (free, low) = (space.free >> 20, space.low() >> 20);
            return Err(format!("{} has {free} MiB free, below {low} MiB; make space", self.directory.display()));
        }
        Ok(())
    }
}

impl Space {
    fn low(self) -> u64 {
        LOW_BYTES.min(self.total / 8)
    }

    fn is_full(self, was_full: bool) -> bool {
        let limit = if was_full { self.low() * RECOVERED_FACTOR } else { self.low() };
        self.free < limit
    }
}

fn space(directory: &Path) -> io::Result<Space> {
    let found = statvfs(directory)?;
    let size = found.fragment_size();
    Ok(Space { free: found.blocks_available().saturating_mul(size), total: found.blocks().saturating_mul(size) })
}

fn make(path: &Path, length: u64) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let written = fill(&mut file, length);
    if written.is_err() {
        give_up(path);
    }
    written
}

/// Written and not only announced, since a sparse file takes no space.
fn fill(file: &mut File, length: u64) -> io::Result<()> {
    let piece = vec![0x5a; PIECE];
    for _ in 0..length / PIECE as u64 {
        file.write_all(&piece)?;
    }
    file.sync_all()
}

fn give_up(path: &Path) {
    match fs::remove_file(path) {
        Ok(()) => tracing::warn!("the disk is full; the space that was kept for runs in progress is given up"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "the reserve could not be given up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_until_there_is_clearly_space() {
        let space = |free| Space { free, total: 1 << 40 };
        assert!(!space(LOW_BYTES).is_full(false));
        assert!(space(LOW_BYTES - 1).is_full(false));
        assert!(space(LOW_BYTES + 1).is_full(true));
        assert!(!space(2 * LOW_BYTES).is_full(true));
        assert_eq!(Space { free: 0, total: 128 << 20 }.low(), 16 << 20, "a small disk keeps a part of itself");
    }

    #[test]
    fn the_reserve_takes_up_space() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::new(directory.path().to_owned());
        disk.check().unwrap();
        assert_eq!(fs::metadata(directory.path().join(RESERVE_NAME)).unwrap().len(), RESERVE_BYTES);
    }
}
