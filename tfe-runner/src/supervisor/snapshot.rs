//! Snapshots of the state while terraform rewrites it.
//!
//! terraform truncates its state file and writes it anew with every resource, so at any moment the file is more often
//! empty or cut off than whole. Each change is looked at, and the last whole state is kept.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tfe_core::{
    cipher::{Key, NONCE_LENGTH, Nonce},
    secret::Secret,
    state::StateFile,
};

use crate::{artifacts, files::write_durably};

/// How often snapshots are written at most: each costs a disk's flush, and the last one is written in any case.
const INTERVAL: Duration = Duration::from_millis(200);

/// Largest state that is kept: many times the largest that terraform can work with in reasonable time.
pub(crate) const MAX_STATE_BYTES: u64 = 1 << 30;

/// Keeps the last whole state of a file.
pub(crate) struct Snapshots {
    root: PathBuf,
    state: PathBuf,
    target: PathBuf,
    key: Key,
    context: String,
    last: Vec<u8>,
    is_written: bool,
    written_at: Option<Instant>,
}

impl Snapshots {
    pub(crate) fn new(root: &Path, state: &Path, target: PathBuf, key: &Secret, context: &str) -> io::Result<Self> {
        let last = artifacts::read(root, state, MAX_STATE_BYTES)?.unwrap_or_default();
        let key = decode_key(key).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Self {
            root: root.to_owned(),
            state: state.to_owned(),
            target,
            key,
            context: context.to_owned(),
            last,
            is_written: true,
            written_at: None,
        })
    }

    /// Looks at the file and keeps what it holds if that is whole.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        // What is no plain file is no state of terraform's either.
        if let Ok(Some(content)) = artifacts::read(&self.root, &self.state, MAX_STATE_BYTES)
            && content != self.last
            && is_whole(&content)
        {
            self.last = content;
            self.is_written = false;
        }
        self.write_if_due()
    }

    /// Writes what is kept if it is new and the last snapshot was long enough ago.
    pub(crate) fn write_if_due(&mut self) -> io::Result<()> {
        if self.written_at.is_none_or(|at| at.elapsed() >= INTERVAL) { self.write() } else { Ok(()) }
    }

    /// Looks once more and writes what is not written yet.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.written_at = None;
        self.look()
    }

    fn write(&mut self) -> io::Result<()> {
        if self.is_written {
            return Ok(());
        }
        // One that fails costs as much, and is tried again no sooner than the next would be written.
        self.written_at = Some(Instant::now());
        write_durably(&self.target, &sealed(&self.key, &self.context, &self.last)?)?;
        self.is_written = true;
        Ok(())
    }
}

/// A whole state ends with the brace that its first byte opened; only then is a real look worth its time.
pub(crate) fn is_whole(content: &[u8]) -> bool {
    content.starts_with(b"{") && content.trim_ascii_end().ends_with(b"}") && StateFile::parse(content).is_ok()
}

/// A content as [`open`] opens it.
pub(crate) fn seal(key: &Secret, context: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    sealed(&decode_key(key).ok_or(io::ErrorKind::InvalidInput)?, context, content)
}

/// The nonce and the sealed content.
fn sealed(key: &Key, context: &str, content: &[u8]) -> io::Result<Vec<u8>> {
    let mut nonce = [0; NONCE_LENGTH];
    getrandom::fill(&mut nonce).map_err(io::Error::other)?;
    let mut sealed = content.to_vec();
    key.seal(Nonce::from_random(nonce), context.as_bytes(), &mut sealed);
    Ok([&nonce[..], &sealed].concat())
}

/// The state in a sealed snapshot from the spool, if it is whole and of the job whose id is `context`. `key` is the base64 of
/// the job's spool key.
pub fn open(key: &Secret, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, text) = sealed.split_first_chunk::<NONCE_LENGTH>()?;
    let mut text = text.to_vec();
    decode_key(key)?.open(Nonce::from_random(*nonce), context.as_bytes(), &mut text).ok()?;
    Some(text)
}

fn decode_key(key: &Secret) -> Option<Key> {
    Key::from_slice(&STANDARD.decode(key.expose()).ok()?)
}
