//! Small files that must survive a crash: seen whole or not at all, readable by their owner only.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::fail_point::{ROTATION_DRAFTED, ROTATION_RENAMED};

/// Makes the file, all of it at once; [`io::ErrorKind::AlreadyExists`] if there is one.
pub(super) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = write_draft(path, content)?;
    // A link fails when the name is taken, which O_EXCL does too, but a crash cannot leave a file without its content.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    linked?;
    sync_directory(path)
}

/// Makes or replaces the file.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = write_draft(path, content)?;
    ROTATION_DRAFTED.reach();
    fs::rename(&draft, path)?;
    ROTATION_RENAMED.reach();
    sync_directory(path)
}

/// The content, if the file exists. Reads at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, limit), &mut content)?;
    Ok(Some(content))
}

/// Holds a lock beside the file until the result is dropped, so that processes change it one after another.
pub(super) fn lock(path: &Path) -> io::Result<File> {
    let file = private().create(true).truncate(false).open(beside(path, ".lock"))?;
    file.lock()?;
    Ok(file)
}

/// Tells the drafts of one process apart.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

fn write_draft(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let draft = beside(path, &format!(".{}-{}.tmp", std::process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed)));
    let mut file = private().create(true).truncate(true).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    Ok(draft)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
