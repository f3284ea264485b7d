//! Reading a journal: the commits of a stream from a position, in their order and each once, whatever the segments are cut to.
//!
//! A segment whose writing was answered with an error may be there all the same, and be there once more with what was
//! committed since then, so that one holds the other. What comes after a missing commit is not given.

use std::{cmp::Ordering, vec::IntoIter};

use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};

use tfe_core::time::Timestamp;

use super::{
    Damage, JournalPosition, Repository, SnapshotError,
    journal::{Commit, Segment, Stored},
    tasks::AT_ONCE,
};

/// Commits that follow each other. An error about what is damaged or missing comes after the last that counts.
pub(super) struct Commits {
    stream: String,
    segments: BoxStream<'static, Result<Segment, SnapshotError>>,
    current: IntoIter<Commit>,
    next: u64,
    /// What is known to be missing after the last segment.
    missing: Option<SnapshotError>,
}

/// Segments that lead on from a position without a gap.
#[derive(Debug)]
struct Chain {
    segments: Vec<Stored>,
    /// The number after the last commit.
    next: u64,
    /// The number of the first commit after a gap.
    beyond: Option<u64>,
}

impl Commits {
    pub(super) async fn after(repository: &Repository, position: &JournalPosition) -> Result<Self, SnapshotError> {
        let tip = repository.read_tip(&position.stream).await;
        let chain = Chain::of(repository.segments(Some(&position.stream)).await?, position.next);
        let missing = match (chain.beyond, tip) {
            (Some(beyond), _) => Some(missing(&position.stream, chain.next, beyond)),
            (None, Ok(Some(tip))) if tip > chain.next => Some(missing(&position.stream, chain.next, tip)),
            (None, Ok(_)) => None,
            (None, Err(error @ (SnapshotError::Damaged(_) | SnapshotError::Inconsistent(_)))) => Some(error),
            (None, Err(error)) => return Err(error),
        };
        let repository = repository.clone();
        let segments = stream::iter(chain.segments).map(move |stored| segment(repository.clone(), stored));
        let (segments, current) = (segments.buffered(AT_ONCE).boxed(), Vec::new().into_iter());
        Ok(Self { stream: position.stream.clone(), segments, current, next: position.next, missing })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Commit>, SnapshotError> {
        loop {
            for commit in self.current.by_ref() {
                match commit.number.cmp(&self.next) {
                    Ordering::Less => {}
                    Ordering::Equal => {
                        self.next += 1;
                        return Ok(Some(commit));
                    }
                    Ordering::Greater => return Err(missing(&self.stream, self.next, commit.number)),
                }
            }
            match self.segments.try_next().await? {
                Some(segment) => self.current = segment.commits.into_iter(),
                None => return self.missing.take().map_or(Ok(None), Err),
            }
        }
    }
}

async fn segment(repository: Repository, stored: Stored) -> Result<Segment, SnapshotError> {
    repository
        .read_segment(&stored)
        .await?
        .ok_or_else(|| Damage::one(stored.path.to_string(), "what was committed after a snapshot").into())
}

impl Repository {
    /// The moment of the last commit that a journal leads to from a position; none if there are none, or none can be read.
    pub(super) async fn reach(&self, position: &JournalPosition) -> Result<Option<Timestamp>, SnapshotError> {
        let chain = Chain::of(self.segments(Some(&position.stream)).await?, position.next);
        for stored in chain.segments.iter().rev() {
            match self.read_segment(stored).await {
                Ok(Some(segment)) => return Ok(segment.commits.last().map(|commit| commit.at)),
                Ok(None) | Err(SnapshotError::Damaged(_) | SnapshotError::Inconsistent(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Chain {
    /// `segments` in the order of their first commits.
    fn of(segments: Vec<Stored>, from: u64) -> Self {
        let mut chain = Self { segments: Vec::new(), next: from, beyond: None };
        for stored in segments {
            if stored.first > chain.next {
                chain.beyond = Some(stored.first);
                break;
            }
            if stored.last >= chain.next {
                chain.next = stored.last + 1;
                chain.segments.push(stored);
            }
        }
        chain
    }
}

fn missing(stream: &str, first: u64, beyond: u64) -> SnapshotError {
    Damage::one(format!("journal/{stream}"), format!("the commits {first} to {} are not in the repository", beyond - 1)).into()
}
