//! What `/proc` says about processes.

use std::{fs, io, os::unix::fs::MetadataExt};

/// What is asked about a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// Ticks since boot, which tells it from later ones with the same number.
    pub(crate) started: u64,
}

impl Process {
    /// The running process of that number. A zombie has ended and counts as gone.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        // The name, in parentheses, may hold anything; counted after it, in proc_pid_stat(5), are state 0, parent 1, start 19.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X") {
            return None;
        }
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()? })
    }
}

/// Whether a user has running processes, besides this one.
pub(crate) fn any_of(user: u32) -> io::Result<bool> {
    let own = i32::try_from(std::process::id()).ok();
    let is_users = |pid: &i32| fs::metadata(format!("/proc/{pid}")).is_ok_and(|found| found.uid() == user);
    Ok(numbers()?.filter(|pid| Some(*pid) != own).filter(is_users).any(|pid| Process::of(pid).is_some()))
}

fn numbers() -> io::Result<impl Iterator<Item = i32>> {
    Ok(fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// The running processes that a process started, directly or not.
pub(crate) fn below(root: i32) -> io::Result<Vec<i32>> {
    let mut rest: Vec<Process> = numbers()?.filter_map(Process::of).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        found.extend(rest.extract_if(.., |process| process.parent == parent).map(|process| process.pid));
    }
    found.remove(0);
    Ok(found)
}

/// Memory that only this process and its relatives use, in bytes: without what could be read from a file again. What
/// it shares with others is counted in each of them.
pub(crate) fn memory(pid: i32) -> u64 {
    sum_of(&format!("/proc/{pid}/status"), &["RssAnon:", "RssShmem:"])
}

/// The same with a fair part of what is shared; many times as slow.
pub(crate) fn own_memory(pid: i32) -> u64 {
    match sum_of(&format!("/proc/{pid}/smaps_rollup"), &["Pss_Anon:", "Pss_Shmem:"]) {
        // It may not be looked into.
        0 => memory(pid),
        bytes => bytes,
    }
}

/// The sum of the fields with these names, which are in kB.
fn sum_of(path: &str, names: &[&str]) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split_once(char::is_whitespace));
    let values =
        fields.filter(|(name, _)| names.contains(name)).filter_map(|(_, value)| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    values.sum::<u64>() * 1024
}
