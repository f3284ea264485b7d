//! Snapshots: one moment of an installation, records and blobs and what opens them, in any object store.
//!
//! ```text
//! repository.json             what opens the repository: a password or a vault
//! snapshots/<id>              the manifest of a snapshot, sealed; its writing makes the snapshot
//! newest                      which snapshot is the newest, sealed, so that the loss of its manifest is seen
//! damaged                     what was found damaged, sealed; the next snapshot writes it again
//! records/<xx>/<sha256>       a part of the records, compressed and sealed, under the digest of its bytes
//! blobs/<xx>/<id>             a blob as the installation sealed it; its key is in the records
//! journal/<stream>/<numbers>  what was committed after a snapshot, sealed
//! tips/<stream>               how far that leads, sealed, so that the loss of its end is seen
//! verified                    when a snapshot was last restored for trial, sealed
//! marks/<what>-<chance>       who works here now
//! ```
//!
//! A snapshot does not lean on the keys of the installation: secrets are opened on the way in, are sealed under the
//! repository's own key, and are sealed anew by the vault of wherever they are restored. So it goes from any mode to any
//! other, and a lost keyring loses nothing.
//!
//! It is incremental without a chain: parts of the records are cut where the ids say so, so that what did not change has
//! the same bytes and the same name, and a blob never changes. Each manifest names all that it needs; removing one
//! needs no thought for the others but what they share.
//!
//! Everything is written before it is named, and the manifest comes last. Whatever is read is authenticated: by its
//! digest in the manifest, by the seal of the manifest under its own name, or by the seals of a blob's segments.

mod commits;
mod create;
mod error;
mod healing;
mod journal;
mod journaled;
mod lines;
mod list;
mod manifest;
mod marks;
mod owner;
mod prune;
mod replay;
mod repository;
mod restore;
mod shipper;
mod target;
mod tasks;
mod verified;
mod verify;

pub use self::{
    create::{CreateOptions, create},
    error::{Damage, SnapshotError},
    journaled::{JournalHealth, JournaledStore},
    list::Listed,
    manifest::{JournalPosition, Manifest, Part},
    owner::Owner,
    prune::{Pruned, prune},
    repository::{Repository, RepositorySecret},
    restore::{Choice, Restored, restore},
    shipper::Shipper,
    target::finish,
    verified::Verified,
    verify::verify,
};

/// What is being done, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Records are read, or written.
    Records,
    /// Blobs are copied, or read.
    Blobs,
    /// What was committed after the snapshot is brought in.
    Journal,
    /// Everything is looked at once more.
    Verification,
}

/// How far a step is: how many records or blobs so far.
pub type SnapshotProgress<'a> = &'a mut (dyn FnMut(Step, u64) + Send);
