//! The isolation of one run: what it gets of this machine.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, PoisonError},
};

use super::{Guarantees, Isolation, IsolationConfig, Level, Mode, Network, NetworkLevel, Sandbox, Unavailable, lease, probe};

/// A run's part of the disk.
pub(crate) struct Ground<'g> {
    /// Its directory, which belongs to the runner.
    pub(crate) work: &'g Path,
    /// What in it the run may read, files.
    pub(crate) readable: Vec<PathBuf>,
    /// What it may read that is everybody's.
    pub(crate) shared: Vec<PathBuf>,
    /// What in it the run may change, directories.
    pub(crate) writable: Vec<PathBuf>,
    /// The engine.
    pub(crate) program: &'g Path,
    /// The text of its CLI configuration.
    pub(crate) cli_config: &'g str,
}

/// Why a run cannot be isolated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IsolationError {
    /// This machine cannot.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The disk, most likely.
    #[error("the run cannot be isolated: {0}")]
    Io(#[from] io::Error),
}

/// By what means runs are isolated; none if they are not.
pub(crate) fn level(config: &IsolationConfig, supervisor: &[OsString]) -> Result<Option<Level>, IsolationError> {
    if config.mode == Mode::None {
        return Ok(None);
    }
    Ok(probed(config, supervisor)?.level)
}

/// Gives the run its user and its directories, and says how its steps are to be started. Nothing of it may run.
pub(crate) fn of_run(config: &IsolationConfig, supervisor: &[OsString], ground: &Ground<'_>) -> Result<Isolation, IsolationError> {
    if config.mode == Mode::None {
        return Ok(Isolation::None);
    }
    let guarantees = probed(config, supervisor)?;
    let Some(level) = guarantees.level else { return Ok(Isolation::None) };
    let user = if nix::unistd::Uid::effective().is_root() { Some(lease::lease(config, ground.work)?) } else { None };
    if let Some(user) = user {
        for path in ground.readable.iter().chain(&ground.writable) {
            lease::give(path, user)?;
        }
    }
    if level == Level::Landlock {
        // There are no mounts that lead around the directories above.
        for directory in [Some(ground.work), ground.work.parent()].into_iter().flatten() {
            fs::set_permissions(directory, Permissions::from_mode(0o711))?;
        }
    }
    let network = Network { level: guarantees.network, ..config.network.clone() };
    if let Some(user) = user.filter(|_| network.level == NetworkLevel::Addresses) {
        lease::filter(config, user, &network)?;
    }
    let named = named_paths(ground.cli_config);
    let readable = [ground.program.to_owned()]
        .into_iter()
        .chain(ground.readable.clone())
        .chain(ground.shared.clone())
        .chain(config.readable.clone())
        .chain(named);
    Ok(Isolation::Sandbox(Sandbox {
        level,
        user,
        readable: readable.collect(),
        writable: ground.writable.clone(),
        limits: config.limits,
        network,
    }))
}

/// Takes back what no run needs any more.
pub(crate) fn sweep(config: &IsolationConfig) -> io::Result<()> {
    let has_filters = config.mode != Mode::None && nix::unistd::Uid::effective().is_root();
    if has_filters { lease::remove_unused_filters(config) } else { Ok(()) }
}

type Known = HashMap<(Vec<OsString>, NetworkLevel), Guarantees>;

/// What this machine gives does not change while a process lives, so it is tried once for each supervisor and network.
fn probed(config: &IsolationConfig, supervisor: &[OsString]) -> Result<Guarantees, Unavailable> {
    static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);
    let key = (supervisor.to_vec(), config.network.level);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(guarantees) = known.get(&key) {
        return Ok(*guarantees);
    }
    let guarantees = probe(config, supervisor)?;
    tracing::info!(%guarantees, "runs are isolated");
    if guarantees.network < NetworkLevel::Addresses {
        tracing::warn!(level = %guarantees.network, "runs reach addresses of this machine and of its link; be root and install nft to prevent it");
    }
    known.insert(key, guarantees);
    Ok(guarantees)
}

/// The absolute paths in a CLI configuration that exist: mirrors, caches, overrides. An operator wrote it, and what it
/// names is meant to be used by runs.
fn named_paths(cli_config: &str) -> Vec<PathBuf> {
    let quoted = cli_config.split('"').skip(1).step_by(2).map(PathBuf::from);
    quoted.filter(|path| path.is_absolute() && path.parent().is_some() && path.exists()).collect()
}

#[cfg(test)]
mod tests {
    use super::named_paths;

    #[test]
    fn what_a_cli_configuration_names_is_found() {
        let text = "provider_installation {\n  filesystem_mirror {\n    path = \"/usr/bin\"\n    include = [\"a/b\", \"/\"]\n  }\n}\n";
        assert_eq!(named_paths(text), [std::path::PathBuf::from("/usr/bin")]);
    }
}
