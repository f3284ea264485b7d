//! Rules of Landlock: a second wall around files, and around the signals and abstract sockets of others.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

use super::{Level, Sandbox, doing, root};

/// The newest rules that are asked for; an older kernel enforces those it knows.
const KNOWN: ABI = ABI::V7;

/// Restricts this process for ever. Whether the kernel enforces anything of it.
pub(super) fn restrict(sandbox: &Sandbox) -> io::Result<bool> {
    let status = doing("Landlock", rules(sandbox)?.restrict_self())?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// Closes TCP ports for ever: what is not allowed is not reached, so all others are allowed one by one.
pub(super) fn close_ports(closed: &BTreeSet<u16>) -> io::Result<()> {
    let connect = AccessNet::ConnectTcp;
    let open = (0..=u16::MAX).filter(|port| !closed.contains(port)).map(|port| Ok::<_, RulesetError>(NetPort::new(port, connect)));
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(connect);
    let ruleset = ruleset.and_then(Ruleset::create).and_then(|ruleset| ruleset.add_rules(open));
    doing("the closing of ports", ruleset.and_then(landlock::RulesetCreated::restrict_self)).map(drop)
}

fn rules(sandbox: &Sandbox) -> io::Result<landlock::RulesetCreated> {
    let read = AccessFs::from_read(KNOWN);
    let all = AccessFs::from_all(KNOWN);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let ruleset = doing("Landlock", Ruleset::default().handle_access(all).and_then(|rules| rules.scope(Scope::from_all(KNOWN))))?;
    let ruleset = doing("Landlock", ruleset.create())?;
    let made = ruleset
        .add_rules(path_beneath_rules(readable(sandbox), read))
        .and_then(|rules| rules.add_rules(path_beneath_rules(writable(sandbox), all)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(root::DEVICES.map(|name| Path::new("/dev").join(name)), device)));
    doing("Landlock", made)
}

fn readable(sandbox: &Sandbox) -> Vec<PathBuf> {
    let system = root::SYSTEM.iter().chain(&root::ETC_COPIED).chain(&root::ETC_BOUND).map(PathBuf::from);
    let mut paths: Vec<PathBuf> = system.chain(sandbox.readable.iter().cloned()).collect();
    if sandbox.level == Level::Namespaces {
        // Only what was put there.
        paths.extend(["/etc", "/proc", "/dev/fd"].map(PathBuf::from));
    }
    paths
}

fn writable(sandbox: &Sandbox) -> Vec<PathBuf> {
    let mut paths = sandbox.writable.clone();
    if sandbox.level == Level::Namespaces {
        paths.extend(["/tmp", "/dev/shm"].map(PathBuf::from));
    }
    paths
}
