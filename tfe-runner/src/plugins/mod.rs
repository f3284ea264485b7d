//! Provider plugins that were downloaded once, for all runs of this machine.
//!
//! ```text
//! uploaded lock file ─► offer: links to known packages, in a directory that `init` asks first
//!         │                       ▲
//!         ▼                       │ rename
//! what init downloaded ─► copy ─► h1 hash ─► is it in the uploaded lock file? ─► is it for this machine?
//! ```
//!
//! **Whom is trusted?** A run is a stranger's program, and it owns the directory that `init` downloads to: by the time
//! its work is done it could have put anything there, and could have written the hash of that into its lock file. So
//! nothing that it says counts. The content is copied out of its reach first, then hashed here, and what it is kept as is
//! that hash and nothing else: no name, no version. A package therefore cannot pretend to be another one. And a run is only
//! offered packages whose hash its own lock file had *before* any of its programs began, which is what an engine accepts
//! from any source. Whoever writes a false hash into a lock file has it in that configuration alone.
//!
//! Two things remain for those who share a machine. Rubbish could be put in under its true hash, to fill the disk: only
//! hashes of the lock file as it was uploaded are kept, the cache is bounded, and what nobody uses goes first. And a package
//! for another machine could be put in, whose hash others' lock files do have since they name all platforms: so it is
//! looked at what machine its program is for. Packages are not secret: who knows the hash of one can have it.
//!
//! **What is not kept.** Providers without an `h1:` hash of this platform in the uploaded lock file: `terraform providers
//! lock -platform=linux_amd64` writes it. Packages that `init` links to, since these are on this machine already: an
//! operator's mirror of directories, a `plugin_cache_dir`. Packages of runs that nothing keeps from writing to the cache,
//! which are those without a sandbox; they are not offered any either.
//!
//! **Why a mirror and not a plugin cache.** Engines ask their sources for the list of versions before they look into
//! their own cache or data directory, so a mirror or registry that is away would end `init` for all of its providers.

mod cli_config;
mod dirhash;
mod ledger;
mod locked;
mod package;
mod room;

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use self::{ledger::Ledger, locked::Locked};
use crate::{
    artifacts,
    files::{private_directory, remove_tree},
    isolation::Level,
    paths::Paths,
    tools::Platform,
};

/// Largest lock file that is looked at: a thousand times an ordinary one.
const MAX_LOCK_BYTES: u64 = 1 << 20;
/// How the names of unfinished packages begin.
const DRAFT: &str = ".draft-";
/// Whoever a run is, it reads packages and changes none.
const DIRECTORY_MODE: u32 = 0o755;
/// Where engines look for providers unless they are told (<https://developer.hashicorp.com/terraform/cli/config/config-file>,
/// "Implied Local Mirror Directories"), besides the home directory, which is empty.
const IMPLIED: [&str; 4] = [
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
    "/usr/local/share/opentofu/plugins",
    "/usr/share/opentofu/plugins",
];
/// The same in the directory where the engine starts.
const IMPLIED_HERE: &str = "terraform.d/plugins";

/// The packages in a directory: `ROOT/<hash>/` with the files of one.
#[derive(Debug, Clone)]
pub(crate) struct Plugins {
    root: PathBuf,
    /// Where runs work, which tells what is in use.
    work_root: PathBuf,
    /// Packages are copied one after the other, so each is copied once.
    copying: Arc<Mutex<()>>,
    /// Held while packages are given to a run or taken away.
    places: Arc<Mutex<()>>,
}

impl Plugins {
    /// The cache in a directory, which is made when it is needed.
    pub(crate) fn at(root: &Path, work_root: &Path) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { root: absolute(root), work_root: absolute(work_root), copying: Arc::default(), places: Arc::default() }
    }

    /// Whether runs can read what is here and nothing else. At [`Level::Landlock`] there are no mounts that lead around the
    /// directories above.
    pub(crate) fn is_within_reach(&self, level: Option<Level>) -> bool {
        let is_open = |path: &Path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o001 != 0);
        match level {
            None => false,
            Some(Level::Namespaces) => true,
            Some(Level::Landlock) => self.make().is_ok() && self.root.ancestors().all(is_open),
        }
    }

    /// Gives a run the packages that its lock file names, before any program of it has begun. Returns its CLI configuration.
    pub(crate) fn offer(&self, paths: &Paths, lock: &Path, cli_config: &str) -> io::Result<String> {
        let text = artifacts::read(&paths.work, lock, MAX_LOCK_BYTES)?.unwrap_or_default();
        let mut ledger = Ledger { lock: lock.to_owned(), locked: locked::read(&String::from_utf8_lossy(&text)), readable: Vec::new() };
        let _places = self.places();
        let known: Vec<_> = ledger.locked.iter().filter_map(|locked| Some((locked, self.package(locked)?))).collect();
        let addresses: Vec<_> = known.iter().map(|(locked, _)| locked.address.as_str()).collect();
        let mirror = paths.plugins();
        let changed = cli_config::with_directory(cli_config, &mirror, &addresses);
        let changed = changed.filter(|_| !known.is_empty() && !has_implied_sources(cli_config, lock.parent()));
        if changed.is_some() {
            for (locked, package) in &known {
                link(&mirror, &locked.place(), package)?;
                File::open(package)?.set_modified(SystemTime::now())?;
            }
            ledger.readable = known.into_iter().map(|(_, package)| package).chain([mirror]).collect();
        }
        ledger.write(paths)?;
        Ok(changed.unwrap_or_else(|| cli_config.to_owned()))
    }

    /// What a run was given earlier.
    pub(crate) fn offered(paths: &Paths) -> Vec<PathBuf> {
        Ledger::read(&paths.work).map(|ledger| ledger.readable).unwrap_or_default()
    }

    /// Keeps what `init` downloaded and is verified.
    pub(crate) fn keep(&self, paths: &Paths) -> io::Result<()> {
        let Some(ledger) = Ledger::read(&paths.work) else { return Ok(()) };
        let missing = || ledger.locked.iter().filter(|locked| self.package(locked).is_none());
        if missing().next().is_none() {
            return Ok(());
        }
        let text = artifacts::read(&paths.work, &ledger.lock, MAX_LOCK_BYTES)?.unwrap_or_default();
        let now = locked::read(&String::from_utf8_lossy(&text));
        let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        // Where an engine had to add the hash of its platform, the uploaded file had none, and the work would be for nothing.
        for locked in missing().filter(|locked| now.contains(locked)) {
            if let Err(error) = self.keep_one(paths, locked) {
                tracing::warn!(address = locked.address, version = locked.version, %error, "a provider is not kept");
            }
        }
        self.make_room(room::LIMIT_BYTES)
    }

    fn keep_one(&self, paths: &Paths, locked: &Locked) -> io::Result<()> {
        let source = paths.data().join("providers").join(locked.place());
        if artifacts::list(&paths.work, &source).ok().flatten().is_none() {
            return Ok(());
        }
        self.make()?;
        let draft = tempfile::Builder::new().prefix(DRAFT).tempdir_in(&self.root)?.keep();
        let kept =
            self.free_bytes().and_then(|free| package::copy(&paths.work, &source, &draft, free)).and_then(|()| self.admit(locked, &draft));
        // What was admitted is not there any more.
        remove_tree(&draft)?;
        kept
    }

    /// Gives a draft its place if it is what the lock file says.
    fn admit(&self, locked: &Locked, draft: &Path) -> io::Result<()> {
        let hash = dirhash::h1(draft)?;
        let Some(key) = locked::key(&hash).filter(|_| locked.hashes.contains(&hash)) else {
            tracing::warn!(
                address = locked.address,
                version = locked.version,
                hash,
                "a provider is not kept: its lock file has another hash"
            );
            return Ok(());
        };
        if !package::is_for_this_machine(draft)? {
            tracing::warn!(address = locked.address, version = locked.version, "a provider is not kept: it is for another machine");
            return Ok(());
        }
        package::close(draft)?;
        let _places = self.places();
        let place = self.root.join(key);
        match fs::rename(draft, &place) {
            // Another process was faster; what it has is the same.
            Err(_) if place.is_dir() => {}
            renamed => renamed?,
        }
        tracing::info!(address = locked.address, version = locked.version, "a provider is kept for other runs");
        File::open(&self.root)?.sync_all()
    }

    /// Removes what a process left that died at work. No other one works here.
    pub(crate) fn sweep(&self) {
        for path in children(&self.root).filter(|path| is_draft(path)) {
            // What cannot be removed now will be found again at the next start.
            let _ = remove_tree(&path);
        }
    }

    /// The package that a lock file means, if it is here.
    fn package(&self, locked: &Locked) -> Option<PathBuf> {
        locked.hashes.iter().filter_map(|hash| Some(self.root.join(locked::key(hash)?))).find(|package| package.is_dir())
    }

    fn make(&self) -> io::Result<()> {
        private_directory(&self.root)?;
        fs::set_permissions(&self.root, Permissions::from_mode(DIRECTORY_MODE))
    }

    fn places(&self) -> MutexGuard<'_, ()> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locked {
    /// Where an engine looks for it, below a mirror or its own directory.
    fn place(&self) -> PathBuf {
        Path::new(&self.address).join(&self.version).join(Platform::current().to_string())
    }
}

/// Whether providers come from places that nobody named, which a named one would hide.
fn has_implied_sources(cli_config: &str, directory: Option<&Path>) -> bool {
    let here = directory.map(|directory| directory.join(IMPLIED_HERE));
    let mut implied = IMPLIED.iter().map(PathBuf::from).chain(here);
    !cli_config.contains(cli_config::BLOCK) && implied.any(|path| path.exists())
}

/// Makes a link in directories that everybody can read.
fn link(root: &Path, place: &Path, target: &Path) -> io::Result<()> {
    let mut directory = root.to_owned();
    for part in [OsStr::new("")].into_iter().chain(place.parent().into_iter().flatten()) {
        directory.push(part);
        private_directory(&directory)?;
        fs::set_permissions(&directory, Permissions::from_mode(DIRECTORY_MODE))?;
    }
    symlink(target, root.join(place))
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

fn is_draft(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(DRAFT))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NULL: &str = "registry.terraform.io/hashicorp/null";
    /// Of nothing in particular.
    const HASH: &str = "h1:CFnENdqQu4g3LJNevA32aDxcUz2qGkRGQpFfkI8TCdE=";

    /// A cache with a package, and a run whose lock file has it.
    fn bench(home: &Path) -> (Plugins, Paths, PathBuf) {
        let plugins = Plugins::at(&home.join("plugins"), &home.join("work"));
        plugins.make().unwrap();
        let package = plugins.root.join(locked::key(HASH).unwrap());
        fs::create_dir(&package).unwrap();
        fs::write(package.join("program"), "").unwrap();
        package::close(&package).unwrap();
        let paths = Paths { work: home.join("work/run-1"), spool: home.join("spool") };
        paths.directories().for_each(|directory| private_directory(&directory).unwrap());
        let lock = paths.configuration().join(".terraform.lock.hcl");
        fs::write(&lock, format!("provider \"{NULL}\" {{\n  version = \"2.1.2\"\n  hashes = [\n    \"{HASH}\",\n  ]\n}}\n")).unwrap();
        (plugins, paths, lock)
    }

    #[test]
    fn a_run_gets_what_its_lock_file_names_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let (plugins, paths, lock) = bench(home.path());
        fs::create_dir(plugins.root.join("another")).unwrap();
        let text = plugins.offer(&paths, &lock, "").unwrap();
        assert!(text.contains(&format!("include = [\"{NULL}\"]")), "{text}");
        let program = paths.plugins().join(NULL).join("2.1.2").join(Platform::current().to_string()).join("program");
        assert!(program.exists());
        assert_eq!(Plugins::offered(&paths), [plugins.root.join(locked::key(HASH).unwrap()), paths.plugins()]);
    }

    #[test]
    fn a_run_that_brings_its_own_providers_keeps_them() {
        let home = tempfile::tempdir().unwrap();
        let (plugins, paths, lock) = bench(home.path());
        fs::create_dir_all(paths.configuration().join(IMPLIED_HERE)).unwrap();
        assert_eq!(plugins.offer(&paths, &lock, "").unwrap(), "");
        assert_eq!(Plugins::offered(&paths), Vec::<PathBuf>::new());
        let named = plugins.offer(&paths, &lock, "provider_installation {\n  direct {}\n}\n").unwrap();
        assert!(named.contains(NULL), "an operator who names sources hides the others: {named}");
    }

    #[test]
    fn a_lock_file_that_is_a_link_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        let (plugins, paths, lock) = bench(home.path());
        fs::rename(&lock, home.path().join("elsewhere")).unwrap();
        symlink(home.path().join("elsewhere"), &lock).unwrap();
        assert!(plugins.offer(&paths, &lock, "").is_err());
    }

    #[test]
    fn without_mounts_the_directories_above_must_be_open() {
        let home = tempfile::tempdir().unwrap();
        let plugins = Plugins::at(&home.path().join("plugins"), home.path());
        fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
        let reach = || [None, Some(Level::Namespaces), Some(Level::Landlock)].map(|level| plugins.is_within_reach(level));
        assert_eq!(reach(), [false, true, false]);
        fs::set_permissions(home.path(), Permissions::from_mode(0o711)).unwrap();
        assert_eq!(reach(), [false, true, true]);
    }
}
