//! Where a file is: on this machine or behind a URL.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use url::Url;

use super::{error::ToolError, http, source::Archive};

/// Largest archive: ten times those of today's engines.
pub(super) const MAX_ARCHIVE_BYTES: u64 = 512 << 20;
/// Largest list, signature or key: the longest today, HashiCorp's index, has 3 MB.
pub(super) const MAX_DOCUMENT_BYTES: u64 = 32 << 20;

/// A place of one file, or of a directory of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A path on this machine.
    Path(PathBuf),
    /// An `http` or `https` URL.
    Url(Url),
}

impl Location {
    /// Reads a URL or a path.
    pub fn parse(text: &str) -> Result<Self, ToolError> {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        Url::parse(text)
            .map(Self::Url)
            .map_err(|error| ToolError::Missing(format!("the address of the engine is not a URL ({error}); correct it")))
    }

    /// A file below this place.
    pub(super) fn join(&self, path: &str) -> Result<Self, ToolError> {
        match self {
            _ if path.starts_with("http://") || path.starts_with("https://") => Self::parse(path),
            Self::Path(directory) => Ok(Self::Path(directory.join(path))),
            Self::Url(base) => {
                let mut url = base.clone();
                url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
                Ok(Self::Url(url))
            }
        }
    }

    /// A document, read whole; none if there is none.
    pub(super) async fn read(&self) -> Result<Option<Vec<u8>>, ToolError> {
        let mut document = Vec::new();
        let is_there = match self {
            Self::Path(path) => match open(path)? {
                Some(file) => copy(file, &mut document, MAX_DOCUMENT_BYTES, self).map(|()| true)?,
                None => false,
            },
            Self::Url(url) => http::get(url, &mut document, MAX_DOCUMENT_BYTES, self).await?,
        };
        Ok(is_there.then_some(document))
    }

    /// An archive, copied into a file of its own in `downloads` on the way to its digest, so that what is verified is
    /// what is used; none if there is none.
    pub(super) async fn download(&self, downloads: &Path) -> Result<Option<Archive>, ToolError> {
        let mut draft = Draft { file: NamedTempFile::new_in(downloads)?, digest: Sha256::new() };
        let is_there = match self {
            Self::Path(path) => match open(path)? {
                Some(file) => {
                    let place = self.clone();
                    let copied = move || copy(file, &mut draft, MAX_ARCHIVE_BYTES, &place).map(|()| draft);
                    draft = tokio::task::spawn_blocking(copied).await.map_err(io::Error::other)??;
                    true
                }
                None => false,
            },
            Self::Url(url) => http::get(url, &mut draft, MAX_ARCHIVE_BYTES, self).await?,
        };
        Ok(is_there.then(|| draft.finish()))
    }

    /// The names in this directory; none if it is not one on this machine.
    pub(super) fn names(&self) -> Vec<String> {
        let Self::Path(directory) = self else { return Vec::new() };
        let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// That there is more here than may be taken.
    pub(super) fn too_large(&self, limit_bytes: u64) -> ToolError {
        ToolError::Untrusted(format!("{self} is larger than {limit_bytes} bytes; it is not an engine's"))
    }
}

/// What is received, which can be begun anew.
pub(super) trait Sink: Write + Send {
    /// Forgets what came so far.
    fn restart(&mut self) -> io::Result<()>;
}

/// An archive on its way.
struct Draft {
    file: NamedTempFile,
    digest: Sha256,
}

impl Draft {
    fn finish(self) -> Archive {
        Archive { file: self.file, sha256: hexadecimal(&self.digest.finalize()) }
    }
}

impl Write for Draft {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.file.write_all(content)?;
        self.digest.update(content);
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for Draft {
    fn restart(&mut self) -> io::Result<()> {
        self.digest.reset();
        self.file.as_file().set_len(0)?;
        io::Seek::rewind(&mut self.file)
    }
}

impl Sink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

fn open(path: &Path) -> Result<Option<File>, ToolError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ToolError::Unavailable(format!("{} cannot be read: {error}", path.display()))),
    }
}

fn copy(file: File, sink: &mut impl Write, limit_bytes: u64, place: &Location) -> Result<(), ToolError> {
    let copied = io::copy(&mut file.take(limit_bytes + 1), sink)?;
    if copied > limit_bytes { Err(place.too_large(limit_bytes)) } else { Ok(()) }
}

/// A digest as text.
pub(super) fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

impl fmt::Display for Location {
    /// Without what may be secret in a URL: a password, or the signature in a query.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(formatter, "{}", path.display()),
            Self::Url(url) => write!(formatter, "{}{}", url.origin().ascii_serialization(), url.path()),
        }
    }
}
