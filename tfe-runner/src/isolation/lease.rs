//! A user id of its own for each run.
//!
//! An id belongs to a run for as long as the run's directory exists, from its plan to its apply and whatever process
//! dies in between. A record says so in a file with the id as its name; records whose directory is gone are free.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt, fs::lchown},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{IsolationConfig, Network, doing, filter};
use crate::files::{private_directory, write_durably};

/// Held while records are read and written.
const LOCK: &str = "lock";
/// How the name of a note about a user's filter ends.
const FILTER: &str = "filter";

/// The user id of the run in this directory, which must exist. Asking again gives the same one.
pub(super) fn lease(config: &IsolationConfig, directory: &Path) -> io::Result<u32> {
    // Held until the new one is there.
    let records = Records::open(&config.leases)?;
    if let Some((id, _)) = records.taken.iter().find(|(id, owner)| *owner == directory && config.users.contains(id)) {
        return Ok(*id);
    }
    let id = config.users.clone().find(|id| !records.taken.contains_key(id));
    let id =
        id.ok_or_else(|| io::Error::other("every user id for runs is in use; widen their range, or remove the directories of old runs"))?;
    write_durably(&config.leases.join(id.to_string()), directory.as_os_str().as_bytes())?;
    Ok(id)
}

/// Keeps the user's filter in place.
pub(super) fn filter(config: &IsolationConfig, user: u32, network: &Network) -> io::Result<()> {
    filter::keep(user, network, &note(config, user))
}

/// Believes no more that the user's filter is in place, for those who are about to change it.
pub(super) fn forget_filter(config: &IsolationConfig, user: u32) -> io::Result<()> {
    match fs::remove_file(note(config, user)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes away the filters of users that no run has any more.
pub(super) fn remove_unused_filters(config: &IsolationConfig) -> io::Result<()> {
    if !config.leases.exists() {
        return Ok(());
    }
    // As long as they are held, nobody gets one of these users.
    let records = Records::open(&config.leases)?;
    let mut unused = Vec::new();
    for entry in fs::read_dir(&config.leases)? {
        let path = entry?.path();
        let user = path.file_stem().and_then(|name| name.to_str()?.parse().ok()).filter(|_| path.extension() == Some(FILTER.as_ref()));
        unused.extend(user.filter(|user| !records.taken.contains_key(user)));
    }
    if unused.is_empty() {
        return Ok(());
    }
    // Before the filters, since a note without one would be believed.
    unused.iter().try_for_each(|user| forget_filter(config, *user))?;
    filter::remove_all(&unused).inspect_err(|_| {
        // Found again by the next sweep, and no filter is like it.
        for user in &unused {
            let _ = fs::write(note(config, *user), "");
        }
    })
}

fn note(config: &IsolationConfig, user: u32) -> PathBuf {
    config.leases.join(user.to_string()).with_extension(FILTER)
}

/// The records, which nobody else changes meanwhile.
struct Records {
    taken: HashMap<u32, PathBuf>,
    _lock: Flock<File>,
}

impl Records {
    /// Reads them, and removes those of runs that are over.
    fn open(directory: &Path) -> io::Result<Self> {
        doing(format_args!("user ids in use cannot be recorded in {}", directory.display()), private_directory(directory))?;
        let lock = Flock::lock(File::create(directory.join(LOCK))?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        let mut taken = HashMap::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            let Some(id) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            let owner = PathBuf::from(OsStr::from_bytes(&fs::read(&path)?));
            if owner.exists() {
                taken.insert(id, owner);
            } else {
                fs::remove_file(path)?;
            }
        }
        Ok(Self { taken, _lock: lock })
    }
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

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn no_two_runs_have_the_same_user_and_an_id_is_free_when_its_run_is_over() {
        let home = tempfile::tempdir().unwrap();
        let config = IsolationConfig { leases: home.path().join("leases"), ..IsolationConfig::default() };
        let work = |number: u32| home.path().join(format!("run-{number}"));
        let ids = thread::scope(|scope| {
            let leases = (0..16).map(|number| {
                fs::create_dir(work(number)).unwrap();
                let config = &config;
                scope.spawn(move || lease(config, &work(number)).unwrap())
            });
            leases.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "{ids:?}");
        assert_eq!(lease(&config, &work(3)).unwrap(), ids[3]);
        fs::remove_dir(work(3)).unwrap();
        fs::create_dir(work(99)).unwrap();
        assert_eq!(lease(&config, &work(99)).unwrap(), ids[3]);
    }

    #[test]
    fn a_filter_comes_back_after_a_trial_and_goes_with_its_run() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let (leases, work) = (home.path().join("leases"), home.path().join("run"));
        let first = 1_877_000_000 + std::process::id();
        let config = IsolationConfig { leases, users: first..first + 1, ..IsolationConfig::default() };
        fs::create_dir(&work).unwrap();
        let user = lease(&config, &work).unwrap();
        let is_there = || {
            let listed = std::process::Command::new("nft").args(["list", "table", "inet", &format!("tfe_run_{user}")]).output();
            listed.unwrap().status.success()
        };
        filter(&config, user, &Network::default()).unwrap();
        assert!(is_there());
        remove_unused_filters(&config).unwrap();
        assert!(is_there(), "the run needs it");
        // What a trial does.
        forget_filter(&config, user).unwrap();
        filter::remove(user).unwrap();
        filter(&config, user, &Network::default()).unwrap();
        assert!(is_there());
        fs::remove_dir(&work).unwrap();
        remove_unused_filters(&config).unwrap();
        assert!(!is_there() && !note(&config, user).exists());
    }
}
