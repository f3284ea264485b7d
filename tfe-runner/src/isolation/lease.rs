//! A user id of its own for each run.
//!
//! An id belongs to a run for as long as the run's directory exists, from its plan to its apply and whatever process
//! dies in between. A record says so in a file with the id as its name; records whose directory is gone are free.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::lchown},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{IsolationConfig, doing};
use crate::files::{private_directory, write_durably};

/// Held while records are read and written.
const LOCK: &str = "lock";

/// The user id of the run in this directory, which must exist. Asking again gives the same one.
pub(super) fn lease(config: &IsolationConfig, directory: &Path) -> io::Result<u32> {
    let records = &config.leases;
    doing(format_args!("user ids in use cannot be recorded in {}", records.display()), private_directory(records))?;
    let lock = File::create(records.join(LOCK))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let mut taken = HashSet::new();
    for entry in fs::read_dir(records)? {
        let path = entry?.path();
        let Some(id) = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else { continue };
        let owner = PathBuf::from(std::ffi::OsStr::from_bytes(&fs::read(&path)?));
        if owner == directory && config.users.contains(&id) {
            return Ok(id);
        }
        if owner.exists() {
            taken.insert(id);
        } else {
            fs::remove_file(path)?;
        }
    }
    let id = config.users.clone().find(|id| !taken.contains(id));
    let id =
        id.ok_or_else(|| io::Error::other("every user id for runs is in use; widen their range, or remove the directories of old runs"))?;
    write_durably(&records.join(id.to_string()), directory.as_os_str().as_bytes())?;
    Ok(id)
}

/// Gives everything below a path to a user, links themselves and not what they lead to. Nothing of that user may run.
pub(super) fn give(path: &Path, user: u32) -> io::Result<()> {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        lchown(&path, Some(user), Some(user))?;
        if fs::symlink_metadata(&path)?.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        }
    }
    Ok(())
}
