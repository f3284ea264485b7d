//! The journal: what was committed after a snapshot, in numbered segments.
//!
//! A stream belongs to one run of a program, and its commits are numbered from 0. A segment holds some that follow each
//! other; a number that is missing means that a commit was not shipped, and nothing after it counts.

use futures::TryStreamExt;
use object_store::{ObjectStore, path::Path};
use serde::{Deserialize, Serialize};
use tfe_core::time::Timestamp;

use super::{Repository, SnapshotError, lines::Line};
use crate::BlobError;

/// Below what streams are.
const DIRECTORY: &str = "journal";
/// Below what says how far each stream led, so that the loss of its end is seen.
pub(super) const TIPS: &str = "tips";

/// Commits that follow each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Segment {
    pub(super) commits: Vec<Commit>,
}

/// A batch of writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Commit {
    pub(super) number: u64,
    /// When it was acknowledged.
    pub(super) at: Timestamp,
    pub(super) changes: Vec<Change>,
}

/// A write, by what it leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    Put { kind: String, line: Line },
    Delete { kind: String, id: String },
}

/// A segment in the repository.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) stream: String,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) path: Path,
    pub(super) written_millis: i64,
}

impl Repository {
    /// Writes a segment, which has at least one commit.
    pub(super) async fn write_segment(&self, stream: &str, segment: &Segment) -> Result<(), SnapshotError> {
        let number = |commit: Option<&Commit>| commit.map(|commit| commit.number).unwrap_or_default();
        let name = format!("{:020}-{:020}", number(segment.commits.first()), number(segment.commits.last()));
        let document = serde_json::to_vec(segment).map_err(|error| SnapshotError::Inconsistent(error.to_string()))?;
        self.write_document(&Path::from_iter([DIRECTORY, stream, &name]), &document).await
    }

    /// A segment; none if it is gone.
    pub(super) async fn read_segment(&self, stored: &Stored) -> Result<Option<Segment>, SnapshotError> {
        let Some(document) = self.read_document(&stored.path, "what was committed after a snapshot").await? else { return Ok(None) };
        serde_json::from_slice(&document).map(Some).map_err(|error| SnapshotError::Inconsistent(error.to_string()))
    }

    /// Notes how far a stream leads: the number after its last commit.
    pub(super) async fn write_tip(&self, stream: &str, next: u64) -> Result<(), SnapshotError> {
        self.write_document(&Path::from_iter([TIPS, stream]), next.to_string().as_bytes()).await
    }

    /// How far a stream led when that was noted last; none if it was not. Who wants to compare reads this before the segments.
    pub(super) async fn read_tip(&self, stream: &str) -> Result<Option<u64>, SnapshotError> {
        let path = Path::from_iter([TIPS, stream]);
        let Some(tip) = self.read_document(&path, "the end of what was committed").await? else { return Ok(None) };
        let wrong = || SnapshotError::Inconsistent(path.to_string());
        str::from_utf8(&tip).ok().and_then(|tip| tip.parse().ok()).map(Some).ok_or_else(wrong)
    }

    /// The segments of a stream, or of all, in order.
    pub(super) async fn segments(&self, stream: Option<&str>) -> Result<Vec<Stored>, SnapshotError> {
        let directory: Path = [DIRECTORY].into_iter().chain(stream).collect();
        let found: Vec<_> = self.objects.list(Some(&directory)).try_collect().await.map_err(BlobError::unavailable)?;
        let mut segments: Vec<_> = found.into_iter().filter_map(stored).collect();
        segments.sort_by(|one, other| (&one.stream, one.first, one.last).cmp(&(&other.stream, other.first, other.last)));
        Ok(segments)
    }
}

fn stored(object: object_store::ObjectMeta) -> Option<Stored> {
    let parts: Vec<_> = object.location.parts().collect();
    let [_, stream, name] = parts.as_slice() else { return None };
    let (first, last) = name.as_ref().split_once('-')?;
    let (stream, first, last) = (stream.as_ref().to_owned(), first.parse().ok()?, last.parse().ok()?);
    Some(Stored { stream, first, last, written_millis: object.last_modified.timestamp_millis(), path: object.location })
}
