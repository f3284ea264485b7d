//! What an operator chooses about isolation.

use std::{ops::Range, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::Network;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How runs are isolated. The default is the sandbox with limits that ordinary runs do not meet.
#[derive(Debug, Clone)]
pub struct IsolationConfig {
    /// Whether at all.
    pub mode: Mode,
    /// What a run may use.
    pub limits: Limits,
    /// More paths that runs may read, such as tools outside of `/usr`. Absolute paths that the CLI configuration of
    /// runs names, such as provider mirrors, are readable without being listed here.
    pub readable: Vec<PathBuf>,
    /// What of the network they reach.
    pub network: Network,
    /// The user ids that runs get, one each, when the runner is root. No other program may use them.
    pub users: Range<u32>,
    /// Where the user ids in use are recorded: one place for all runners of a machine, emptied when it starts.
    pub leases: PathBuf,
}

/// Whether runs are isolated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// In the strongest sandbox that this machine allows; a machine that allows none gets no work done.
    #[default]
    Sandbox,
    /// Not at all: whoever can start a run can do here whatever the runner can.
    None,
}

/// What one run may use. Zero means no limit for `memory_bytes` and `disk_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of all its processes together, in bytes. Looked at twice a second.
    pub memory_bytes: u64,
    /// Its directory on the disk, in bytes. Looked at about twice a second.
    pub disk_bytes: u64,
    /// `/tmp`, and as much again in `/dev/shm`; in memory. Ordinary temporary files go to the run's directory.
    pub temporary_bytes: u64,
    /// Processes and threads at the same time.
    pub processes: u64,
    /// Open files of a process.
    pub open_files: u64,
    /// One file, in bytes.
    pub file_bytes: u64,
    /// The address space of one process, in bytes: a stop between two looks at the memory. Programs reserve much more than they use.
    pub address_space_bytes: u64,
}

impl Default for IsolationConfig {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            limits: Limits::default(),
            readable: Vec::new(),
            network: Network::default(),
            // Above the ranges that distributions and systemd give to users, services and containers
            // (https://systemd.io/UIDS-GIDS/), below the ids that are negative for some programs.
            users: 1_879_048_192..1_879_048_192 + 65_536,
            leases: PathBuf::from("/run/tfe-users"),
        }
    }
}

impl IsolationConfig {
    /// No isolation at all, in words.
    pub fn none() -> Self {
        Self { mode: Mode::None, ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 2 * GIB,
            // The largest providers have 700 MB, and a run may use several.
            disk_bytes: 8 * GIB,
            temporary_bytes: 64 * MIB,
            // Each provider has some twenty threads.
            processes: 2048,
            open_files: 4096,
            file_bytes: 4 * GIB,
            address_space_bytes: 16 * GIB,
        }
    }
}
