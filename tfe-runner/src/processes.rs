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
