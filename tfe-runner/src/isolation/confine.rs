//! What a process gives up before it becomes somebody else's.

use std::{collections::HashSet, io};

use caps::{CapSet, Capability};
use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
    },
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use super::{Level, Limits, NetworkLevel, Sandbox, doing, landlocked, seccomp};

/// Locked memory of a process, enough for keys of a tool that locks them.
const LOCKED_BYTES: u64 = 8 << 20;

/// Limits this process and all that it starts.
pub(super) fn resources(limits: &Limits) -> io::Result<()> {
    let wanted = [
        (Resource::RLIMIT_NPROC, limits.processes),
        (Resource::RLIMIT_NOFILE, limits.open_files),
        (Resource::RLIMIT_FSIZE, limits.file_bytes),
        (Resource::RLIMIT_AS, limits.address_space_bytes),
        (Resource::RLIMIT_MEMLOCK, LOCKED_BYTES),
        (Resource::RLIMIT_CORE, 0),
    ];
    for (resource, value) in wanted {
        // Beyond the present hard limit only some may go, and it limits just as well.
        let value = value.min(getrlimit(resource)?.1);
        doing("resource limits", setrlimit(resource, value, value))?;
    }
    Ok(())
}

/// Lets the first process of a user namespace keep the rights over it: its user is not root in there either.
pub(super) fn keep_rights_for_init() -> io::Result<()> {
    let all = doing("capabilities", caps::read(None, CapSet::Permitted))?;
    doing("capabilities", caps::set(None, CapSet::Inheritable, &all))?;
    doing("capabilities", caps::set(None, CapSet::Ambient, &all))
}

/// Gives up every capability for ever, and becomes the user.
pub(super) fn give_up_rights(user: Option<u32>) -> io::Result<()> {
    for capability in caps::all() {
        // Not every process may, and what a bounding set allows cannot be gained without new privileges anyway.
        let _ = caps::drop(None, CapSet::Bounding, capability);
    }
    if let Some(id) = user {
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        doing("groups", setgroups(&[]))?;
        doing("the run's group", setresgid(gid, gid, gid))?;
        doing("the run's user", setresuid(uid, uid, uid))?;
    }
    let none: HashSet<Capability> = HashSet::new();
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        doing("capabilities", caps::set(None, set, &none))?;
    }
    prctl::set_no_new_privs()?;
    Ok(())
}

/// Puts the kernel's own rules around this process and all that it starts.
pub(super) fn restrict(sandbox: &Sandbox) -> io::Result<()> {
    if sandbox.network.level == NetworkLevel::Ports {
        landlocked::close_ports(&sandbox.network.closed_ports())?;
    }
    let is_enforced = landlocked::restrict(sandbox)?;
    if sandbox.level == Level::Landlock && !is_enforced {
        return Err(io::Error::other("this kernel has no Landlock"));
    }
    seccomp::restrict()
}
