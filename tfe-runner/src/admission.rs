//! Whether this machine has the memory for one more run.
//!
//! How many runs at once is the operator's estimate; what is available is measured. A run that was just taken has not
//! asked for its memory yet, so for a while it counts as if it were to use all that it may.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

/// How long after its start a run is expected to need more than can be seen: engines and their providers are started by then.
pub(crate) const SETTLING: Duration = Duration::from_secs(30);

/// How often it is looked whether there is memory for a run.
const PAUSE: Duration = Duration::from_secs(1);
/// How long there may be none until that is said.
const PATIENCE: Duration = Duration::from_mins(1);
const MIB: u64 = 1 << 20;

/// What there is, in bytes: of the machine, or of a control group around this process that has less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) total: u64,
    /// What programs can still get, with what the kernel would give back for them.
    pub(crate) available: u64,
}

/// Whether one more run fits that may use so much; 0 is as much as there is, and nobody knows. `young` runs were just taken.
/// A limit is the most that a run may use, and most use far less: a worker that is idle takes one whatever is measured, so that
/// a small machine does one after the other instead of none.
pub(crate) fn fits(available_bytes: u64, run_bytes: u64, young: usize) -> bool {
    run_bytes.saturating_mul(young as u64 + 1) <= available_bytes
}

/// Says so if two runs could never be here at once.
pub(crate) fn check(run_bytes: u64) {
    if let Some(memory) = Memory::now().filter(|memory| !fits(memory.total, run_bytes, 0)) {
        tracing::warn!(
            machine_mib = memory.total / MIB,
            run_mib = run_bytes / MIB,
            "a run may use more memory than this machine has, so runs are done one after the other here; lower TFE_CAPACITY_MEMORY"
        );
    }
}

/// Returns once one more run fits. That may take long, since others have the memory; then it is said once.
pub(crate) async fn until_fits(run_bytes: u64, young: impl Fn() -> usize, is_idle: impl Fn() -> bool) {
    let (since, mut is_told) = (Instant::now(), false);
    while let Some(memory) = Memory::now().filter(|memory| !is_idle() && !fits(memory.available, run_bytes, young())) {
        if !is_told && since.elapsed() >= PATIENCE {
            tracing::warn!(
                available_mib = memory.available / MIB,
                run_mib = run_bytes / MIB,
                "there is no memory for one more run, so no job is taken; end other programs, or lower TFE_CAPACITY_MEMORY"
            );
            is_told = true;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Memory {
    /// What there is now. None where the kernel does not say.
    pub(crate) fn now() -> Option<Self> {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Option<Self> {
        let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
        let field = |name| field(&text, name)?.checked_mul(1024);
        let machine = Self { total: field("MemTotal:")?, available: field("MemAvailable:")? };
        Some(groups(root).into_iter().filter_map(|group| Self::of_group(&group)).fold(machine, Self::least))
    }

    /// What a control group may still use. What it read from files and has not touched for long is given back first.
    fn of_group(group: &Path) -> Option<Self> {
        let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
        // The names of version 2, then those of version 1.
        let total = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
        let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"))?;
        let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
        let idle = field(&stat, "total_inactive_file").or_else(|| field(&stat, "inactive_file")).unwrap_or_default();
        Some(Self { total, available: total.saturating_sub(used.saturating_sub(idle)) })
    }

    fn least(self, other: Self) -> Self {
        Self { total: self.total.min(other.total), available: self.available.min(other.available) }
    }
}

/// The control groups around this process, as cgroups(7) says: its own and all above. A container may see only the outermost.
fn groups(root: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let mount = match controllers {
            "" => "sys/fs/cgroup",
            named if named.split(',').any(|name| name == "memory") => "sys/fs/cgroup/memory",
            _ => continue,
        };
        found.extend(Path::new(path.trim_start_matches('/')).ancestors().map(|group| root.join(mount).join(group)));
    }
    found
}

/// The first number after a name, in a file with one name a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut words = text.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')))?.split_whitespace();
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_run_is_taken_while_its_memory_is_there() {
        assert!(fits(2 * GIB, 2 * GIB, 0));
        assert!(!fits(2 * GIB - 1, 2 * GIB, 0));
        assert!(fits(4 * GIB, 2 * GIB, 1), "the one before has not asked for its memory yet");
        assert!(!fits(4 * GIB, 2 * GIB, 2));
        assert!(fits(0, 0, 100), "without a limit nothing is known");
        assert!(!fits(u64::MAX - 1, u64::MAX, 3));
    }

    fn machine(files: &[(&str, &str)]) -> Option<Memory> {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Memory::below(root.path())
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       8388608 kB\nMemFree:  1 kB\nMemAvailable:    4194304 kB\n");

    #[test]
    fn the_least_of_machine_and_control_groups_counts() {
        assert_eq!(machine(&[]), None);
        assert_eq!(machine(&[MEMINFO]), Some(Memory { total: 8 * GIB, available: 4 * GIB }));
        let second = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/pod/worker\n"),
            ("sys/fs/cgroup/pod/memory.max", "3221225472\n"),
            ("sys/fs/cgroup/pod/memory.current", "2147483648\n"),
            ("sys/fs/cgroup/pod/memory.stat", "anon 5\ninactive_file 1073741824\n"),
            ("sys/fs/cgroup/pod/worker/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/worker/memory.current", "2147483648\n"),
        ]);
        assert_eq!(second, Some(Memory { total: 3 * GIB, available: 2 * GIB }), "unused cache is given back");
        let first = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "5:cpu:/elsewhere\n4:memory:/docker/1a2b\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "2147483648\n"),
        ]);
        assert_eq!(first, Some(Memory { total: GIB, available: 0 }), "a container sees its own as the outermost");
        let unlimited = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "4:memory:/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n"),
        ]);
        assert_eq!(unlimited, Some(Memory { total: 8 * GIB, available: 4 * GIB }));
    }

    #[test]
    fn this_machine_is_measured() {
        let memory = Memory::now().unwrap();
        assert!(0 < memory.available && memory.available <= memory.total);
    }
}
