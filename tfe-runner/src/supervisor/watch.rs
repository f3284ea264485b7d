//! What a run uses of the machine, looked at while it works: the kernel bounds a process, and only a control group of
//! its own would bound them together, which few machines give away.

use std::{
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        statvfs::statvfs,
    },
    unistd::getpid,
};
use serde::{Deserialize, Serialize};

use crate::{isolation::Limits, processes};

/// How often the run is looked at.
const INTERVAL: Duration = Duration::from_millis(500);
/// How much longer than a look at the disk the pause after it is, so that a run with many files costs no more than others.
const DISK_PAUSE_FACTOR: u32 = 20;
/// What a file or directory costs at least: so many that are empty fill a disk too.
const ENTRY_BYTES: u64 = 4096;
/// With less than this the disk is full.
const FULL_BYTES: u64 = 1 << 20;
const MIB: u64 = 1 << 20;

/// Why a run was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Excess {
    /// All its processes together had so much.
    Memory { used_bytes: u64, limit_bytes: u64 },
    /// Its directory had so much.
    Disk { used_bytes: u64, limit_bytes: u64 },
    /// The disk that its directory is on had no more, though it was within its limit.
    DiskFull,
}

/// What a run used in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// The most memory seen at one time, in bytes.
    pub(crate) peak_memory_bytes: u64,
    /// The time of processors, in milliseconds.
    pub(crate) cpu_milliseconds: u64,
}

/// Looks at a run.
pub(crate) struct Watch {
    limits: Limits,
    directory: PathBuf,
    memory_at: Instant,
    disk_at: Instant,
    peak_memory_bytes: u64,
}

impl Watch {
    pub(crate) fn new(limits: Limits, directory: &Path) -> Self {
        let now = Instant::now();
        Self { limits, directory: directory.to_owned(), memory_at: now, disk_at: now, peak_memory_bytes: 0 }
    }

    /// Looks if it is time to, and says what is too much.
    pub(crate) fn look(&mut self) -> io::Result<Option<Excess>> {
        if self.memory_at <= Instant::now() {
            let excess = self.memory()?;
            self.memory_at = Instant::now() + INTERVAL;
            if excess.is_some() {
                return Ok(excess);
            }
        }
        let begun = Instant::now();
        if self.limits.disk_bytes == 0 || self.disk_at > begun {
            return Ok(None);
        }
        let used_bytes = size(&self.directory, self.limits.disk_bytes);
        self.disk_at = Instant::now() + INTERVAL.max(begun.elapsed() * DISK_PAUSE_FACTOR);
        let limit_bytes = self.limits.disk_bytes;
        Ok((used_bytes > limit_bytes).then_some(Excess::Disk { used_bytes, limit_bytes }))
    }

    /// Whether the disk is full.
    pub(crate) fn disk_full(&self) -> Option<Excess> {
        let found = statvfs(&self.directory).ok()?;
        (found.blocks_available() * found.fragment_size() < FULL_BYTES).then_some(Excess::DiskFull)
    }

    /// What was used, once nothing runs.
    pub(crate) fn usage(&self) -> Usage {
        let Ok(children) = getrusage(UsageWho::RUSAGE_CHILDREN) else { return Usage::default() };
        let times = [children.user_time(), children.system_time()];
        let milliseconds = times.iter().map(|time| time.tv_sec() * 1000 + time.tv_usec() / 1000).sum::<i64>();
        // What was between two looks is known at least of the largest process, in KiB.
        let largest = u64::try_from(children.max_rss()).unwrap_or_default() * 1024;
        Usage { peak_memory_bytes: self.peak_memory_bytes.max(largest), cpu_milliseconds: milliseconds.unsigned_abs() }
    }

    fn memory(&mut self) -> io::Result<Option<Excess>> {
        // All that was started here is below this process, whoever started it: those without a parent come to it.
        let all = processes::below(getpid().as_raw())?;
        let limit_bytes = self.limits.memory_bytes;
        let mut used_bytes = all.iter().map(|pid| processes::memory(*pid)).sum();
        if limit_bytes != 0 && used_bytes > limit_bytes {
            // That counts twice what processes share; it is cheap and enough most of the time.
            used_bytes = all.iter().map(|pid| processes::own_memory(*pid)).sum();
        }
        self.peak_memory_bytes = self.peak_memory_bytes.max(used_bytes);
        Ok((limit_bytes != 0 && used_bytes > limit_bytes).then_some(Excess::Memory { used_bytes, limit_bytes }))
    }
}

/// What a directory takes on the disk, counted until it is more than `enough`. What disappears meanwhile counts nothing.
fn size(directory: &Path, enough: u64) -> u64 {
    /// In these, `stat(2)` counts.
    const BLOCK_BYTES: u64 = 512;
    let (mut sum, mut waiting) = (0, vec![directory.to_owned()]);
    while let Some(directory) = waiting.pop() {
        let entries = match fs::read_dir(directory) {
            // Deeper than a path is long nothing can be counted, so nothing may be there.
            Err(error) if error.kind() == io::ErrorKind::InvalidFilename => return sum + enough,
            entries => entries.into_iter().flatten().filter_map(Result::ok),
        };
        for entry in entries {
            let Ok(found) = entry.metadata() else { continue };
            sum += ENTRY_BYTES.max(found.blocks() * BLOCK_BYTES);
            if found.is_dir() {
                waiting.push(entry.path());
            }
            if sum > enough {
                return sum;
            }
        }
    }
    sum
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { used_bytes, limit_bytes } => write!(
                f,
                "out of memory: peak {} MiB of a limit of {} MiB; raise the memory of runs (TFE_CAPACITY_MEMORY), or plan fewer \
                 resources at once",
                used_bytes.div_ceil(MIB),
                limit_bytes / MIB
            ),
            Self::Disk { used_bytes, limit_bytes } => write!(
                f,
                "disk full: the run's directory has {} MiB of a limit of {} MiB; write less, or raise the limit of the runner",
                used_bytes.div_ceil(MIB),
                limit_bytes / MIB
            ),
            Self::DiskFull => f.write_str("disk full: the runner's disk has no space left; make some, then start the run again"),
        }
    }
}
