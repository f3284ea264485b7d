//! What this machine really gives: tried, not looked up. Kernels, containers and security modules refuse namespaces
//! and mounts for so many reasons that only doing it tells.

use std::{
    ffi::OsString,
    fmt, fs,
    fs::{File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use nix::unistd::Uid;

use super::{Isolation, IsolationConfig, Launch, Level, Mode, Network, NetworkLevel, Sandbox, Setting, knock, lease};
use crate::files::private_directory;

const EXAMINE: &str = include_str!("examine.sh");
/// Longer than any probe takes, and unlike what others sleep.
const SLEEP_BASE_SECONDS: u64 = 100_000_000;

/// What a sandbox on this machine keeps apart. All of it was seen to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarantees {
    /// By what means; none without isolation.
    pub level: Option<Level>,
    /// Files that are not a run's own cannot be reached.
    pub files: bool,
    /// Processes of others cannot be signalled or looked into.
    pub processes: bool,
    /// Processes of others cannot even be seen.
    pub hidden_processes: bool,
    /// Whatever a run starts ends with it.
    pub kill_tree: bool,
    /// How the memory of a run's processes together is bounded.
    pub memory: MemoryBound,
    /// How what it reaches of the network is bounded.
    pub network: NetworkLevel,
}

/// How the memory of a run's processes together is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryBound {
    /// By looking at it twice a second: what is taken between two looks is not seen in time.
    Watched,
}

/// No sandbox can be had here.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "this machine allows no sandbox for runs ({}). Run as root or allow user namespaces (sysctl user.max_user_namespaces, \
     kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile that allows unshare and mount); or set \
     isolation to \"none\", which lets whoever starts a run do everything that this process can",
    .0.join("; ")
)]
pub struct Unavailable(Vec<String>);

/// Tries what isolation this machine gives, the strongest first; takes some 20 ms. `supervisor` is the command that starts a supervisor.
pub fn probe(config: &IsolationConfig, supervisor: &[OsString]) -> Result<Guarantees, Unavailable> {
    if config.mode == Mode::None {
        return Ok(Guarantees::NONE);
    }
    let mut reasons = Vec::new();
    for level in [Level::Namespaces, Level::Landlock] {
        match probe_at(config, supervisor, level) {
            Ok(guarantees) if guarantees.network < config.network.level => reasons.push(format!(
                "{level}: the network can be bounded at the level \"{}\", and \"{}\" is required; for the level \"addresses\" be root and install nft",
                guarantees.network, config.network.level
            )),
            Ok(guarantees) if guarantees.is_enough() => return Ok(guarantees),
            Ok(guarantees) => reasons.push(format!("{level}: not tight, {guarantees}")),
            Err(error) => reasons.push(format!("{level}: {error}")),
        }
    }
    Err(Unavailable(reasons))
}

/// Tries one level.
pub fn probe_at(config: &IsolationConfig, supervisor: &[OsString], level: Level) -> io::Result<Guarantees> {
    let scratch = Scratch::new()?;
    let own = scratch.0.join("own");
    private_directory(&own)?;
    let user = Uid::effective().is_root().then(|| lease::lease(config, &scratch.0)).transpose()?;
    match user {
        Some(user) => {
            lease::give(&own, user)?;
            // The trial puts filters in place and removes them.
            lease::forget_filter(config, user)?;
        }
        None if level == Level::Landlock => {
            return Err(io::Error::other("without namespaces, only root can give runs a user of their own"));
        }
        None => {}
    }
    // What keeps it from being read is the sandbox, not its mode.
    let secret = scratch.0.join("secret");
    fs::write(&secret, "secret")?;
    fs::set_permissions(&secret, Permissions::from_mode(0o644))?;
    fs::set_permissions(&scratch.0, Permissions::from_mode(0o711))?;
    let sandbox =
        Sandbox { level, user, readable: Vec::new(), writable: vec![own.clone()], limits: config.limits, network: Network::default() };
    let sleep_seconds = SLEEP_BASE_SECONDS + u64::from(std::process::id());
    let seen = examine(
        &sandbox,
        supervisor,
        &scratch.0,
        &[secret.into(), own.into(), std::process::id().to_string().into(), sleep_seconds.to_string().into()],
    )?;
    let network = match config.network.level {
        NetworkLevel::Cut if level == Level::Namespaces => NetworkLevel::Cut,
        _ => knock::level(supervisor, &sandbox)?,
    };
    let has = |word: &str| seen.lines().any(|line| line == word);
    if !has("end") || has("unwritable") {
        return Err(io::Error::other(seen.trim().to_owned()));
    }
    Ok(Guarantees {
        level: Some(level),
        files: !has("file"),
        processes: !has("signal"),
        hidden_processes: !has("process"),
        kill_tree: !is_asleep(sleep_seconds),
        memory: MemoryBound::Watched,
        network,
    })
}

impl Guarantees {
    const NONE: Self = Self {
        level: None,
        files: false,
        processes: false,
        hidden_processes: false,
        kill_tree: false,
        memory: MemoryBound::Watched,
        network: NetworkLevel::Open,
    };

    /// Whether a stranger's program may run so.
    pub fn is_enough(&self) -> bool {
        self.files && self.processes && self.kill_tree
    }
}

impl fmt::Display for Guarantees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, files, processes, hidden_processes, kill_tree, memory, network } = self;
        let level = level.map_or("none", Level::as_str);
        write!(
            f,
            "level {level}, files {files}, processes {processes}, hidden {hidden_processes}, tree {kill_tree}, memory {memory:?}, network {network}"
        )
    }
}

/// A directory that goes away again.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tfe-probe-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        // Nothing that somebody else has put there.
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn examine(sandbox: &Sandbox, supervisor: &[OsString], directory: &Path, arguments: &[OsString]) -> io::Result<String> {
    let output = directory.join("output");
    let file = File::create(&output)?;
    let mut words: Vec<OsString> = vec!["-c".into(), EXAMINE.into(), "examine".into()];
    words.extend_from_slice(arguments);
    let environment = vec![Setting { name: "PATH".to_owned(), value: "/usr/bin:/bin".into() }];
    let launch = Launch { program: "/bin/sh".into(), arguments: words, environment, directory: "/".into() };
    let mut execution = Isolation::Sandbox(sandbox.clone()).executor(supervisor).open(file.try_clone()?)?;
    let (sender, ended) = mpsc::channel();
    let on_end = move |end| {
        let _ = sender.send(end);
    };
    execution.start(&launch, file.try_clone()?, file, Box::new(on_end))?;
    ended.recv().map_err(io::Error::other)?;
    execution.clean()?;
    execution.close();
    fs::read_to_string(output)
}

/// Whether the program that should have ended with its sandbox still sleeps.
fn is_asleep(seconds: u64) -> bool {
    let command = format!("sleep\0{seconds}\0");
    let processes = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    processes.into_iter().any(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == command.as_bytes()))
}
