//! Logs: pieces while a phase is at work, one blob afterwards; read by offset as the CLI does.
//!
//! What is stored is exactly what the runner sent, up to [`MAX_LOG_BYTES`]. The frame that the CLI looks for, STX before the
//! first byte and ETX after the last (contract 1.6), is added on reading: whether the end is shown follows from the phase's
//! status in the run's record, so a reader can never see the end of a log before the status that belongs to it (contract 1.7).

use std::collections::VecDeque;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tfe_core::{
    id::Id,
    log::{LogChunk, MAX_CHUNK_BYTES},
    record::Record,
    run::{Phase, Run},
};
use tfe_storage::{Batch, Direction, Error, Query, Sort, StoreExt, Versioned};

use super::{fence::Fence, runs::log_topic};
use crate::{app::App, error::ApiError};

/// Begins a log for the CLI's reader.
const STX: u8 = 0x02;
/// Ends a log for the CLI's reader.
const ETX: u8 = 0x03;
/// Largest log; of a configuration that prints more the rest is not kept. [`CUT`] follows, so only a log that was cut is longer.
pub(crate) const MAX_LOG_BYTES: u64 = 256 << 20;
/// The end of a log that was cut, for whoever reads it.
const CUT: &[u8] = b"\nThis log is longer than 256 MiB; what follows is not kept. Let the configuration print less to see all of it.\n";
/// How often an append is decided anew because the job or the log changed in between: its lease is renewed every few seconds.
const MAX_ATTEMPTS: u32 = 20;
/// How many pieces are read from the store at once.
const PIECES_AT_ONCE: u64 = 64;

/// A part of a framed log.
#[derive(Debug)]
pub(crate) struct Part {
    /// The bytes from the wanted offset on.
    pub(crate) bytes: Vec<u8>,
    /// Whether more will come.
    pub(crate) is_open: bool,
}

/// How many bytes of a phase's log are stored.
pub(crate) async fn length(app: &App, run: &Run, phase: Phase) -> Result<u64, ApiError> {
    if let Some(blob) = &run.phase(phase).log {
        return Ok(app.store.find::<tfe_core::blob::Blob>(blob.as_str()).await?.map_or(0, |blob| blob.size));
    }
    let last = pieces(run.phase_id(phase)).sort(Sort::Id, Direction::Descending).limit(1);
    let last = app.store.list::<LogChunk>(last).await?.items.pop();
    Ok(last.map_or(0, |chunk| chunk.offset + chunk.length))
}

/// Appends at `offset`, as long as the fence stands. What is stored already is not stored again; a gap is refused. What goes
/// beyond [`MAX_LOG_BYTES`] is accepted and not kept: the runner cannot do anything about it.
pub(crate) async fn append(app: &App, run: &Run, phase: Phase, offset: u64, content: &[u8], mut fence: Fence) -> Result<(), ApiError> {
    for _ in 0..MAX_ATTEMPTS {
        match append_rest(app, run, phase, offset, content, &fence).await {
            Err(ApiError::Busy) => fence.renew(app).await?,
            // The pieces of a log are gone once its job is lost and the run over: that is no gap, and another answer.
            Err(gap @ ApiError::BadRequest(_)) => return fence.renew(app).await.and(Err(gap)),
            appended => return appended,
        }
    }
    Err(ApiError::Busy)
}

/// Appends what is not stored yet; [`ApiError::Busy`] if the job or the log changed in between.
async fn append_rest(app: &App, run: &Run, phase: Phase, offset: u64, content: &[u8], fence: &Fence) -> Result<(), ApiError> {
    let stored = length(app, run, phase).await?;
    if stored > MAX_LOG_BYTES {
        return Ok(());
    }
    if offset > stored {
        return Err(ApiError::BadRequest(format!("the log has {stored} bytes; continue there")));
    }
    let known = usize::try_from(stored - offset).unwrap_or(usize::MAX).min(content.len());
    let new = &content[known..];
    let room = usize::try_from(MAX_LOG_BYTES - stored).unwrap_or(usize::MAX);
    let kept = &new[..room.min(new.len())];
    let log = run.phase_id(phase);
    let mut offset = stored;
    // A piece of its own, so that there is all of it or nothing.
    let cut = (new.len() > room).then_some(CUT);
    for piece in kept.chunks(MAX_CHUNK_BYTES).chain(cut) {
        let id = LogChunk::id_for(log, offset);
        let content = app.vault.seal(&LogChunk::CONTENT.context(&id), piece).await?;
        let length = piece.len() as u64;
        let chunk = LogChunk { id, created_at: app.now(), run_id: run.id.clone(), log: log.to_owned(), offset, length, content };
        match app.store.commit(fence.batch().insert(&chunk)).await {
            Ok(()) => {}
            // The same call came twice at once, and the other one was faster.
            Err(Error::AlreadyExists { .. }) => return Err(ApiError::Busy),
            Err(error) => return Err(error.into()),
        }
        offset += length;
    }
    app.coordination.notify(&log_topic(log));
    Ok(())
}

/// Up to `limit` bytes of the framed log from `offset`.
pub(crate) async fn read(app: &App, run: &Run, phase: Phase, offset: u64, limit: usize) -> Result<Part, ApiError> {
    let part = read_as_known(app, run, phase, offset, limit).await?;
    if run.phase(phase).log.is_some() {
        return Ok(part);
    }
    // The pieces may have been joined while they were read, and be gone.
    match app.store.find::<Run>(run.id.as_str()).await? {
        Some(joined) if joined.phase(phase).log.is_some() => read_as_known(app, &joined, phase, offset, limit).await,
        _ => Ok(part),
    }
}

async fn read_as_known(app: &App, run: &Run, phase: Phase, offset: u64, limit: usize) -> Result<Part, ApiError> {
    let is_open = !run.phase(phase).status.is_final();
    let mut bytes = if offset == 0 { vec![STX] } else { Vec::new() };
    // Offsets count the STX, the stored log does not have it.
    bytes.extend(content(app, run, phase, offset.saturating_sub(1), limit.saturating_sub(bytes.len())).await?);
    let end = offset + bytes.len() as u64;
    if !is_open && bytes.len() < limit && end == length(app, run, phase).await? + 1 {
        bytes.push(ETX);
    }
    if bytes == [STX] && is_open {
        // An opening alone would make the reader look for a body at once.
        bytes.clear();
    }
    Ok(Part { bytes, is_open })
}

/// Joins the pieces of a phase that is over into one blob. Doing it twice does no harm.
pub(crate) async fn join(app: &App, run_id: &Id<Run>, phase: Phase) -> Result<(), ApiError> {
    let Some(run) = app.store.find::<Run>(run_id.as_str()).await? else { return Ok(()) };
    if !run.phase(phase).status.is_final() {
        return Ok(());
    }
    if run.phase(phase).log.is_none() {
        let total = length(app, &run, phase).await?;
        if total == 0 {
            // Nothing to join, and nothing will come: the phase is over.
            return Ok(());
        }
        let blob = app.blobs.put(app.new_id(), app.now(), all_pieces(app, run.phase_id(phase)), total).await?;
        let mut joined = run.record.clone();
        joined.phase_mut(phase).log = Some(blob.id.clone());
        match app.store.commit(Batch::new().insert(&blob).update(&run, &joined)).await {
            Ok(()) => {}
            Err(error) => {
                let error = ApiError::from(error);
                // If the outcome is not known, the run may refer to the blob.
                if error.had_no_effect() {
                    app.blobs.delete(&blob.id).await?;
                }
                return if matches!(error, ApiError::Busy) { Ok(()) } else { Err(error) };
            }
        }
    }
    remove_pieces(app, run.phase_id(phase)).await
}

async fn remove_pieces(app: &App, log: &str) -> Result<(), ApiError> {
    loop {
        let chunks = app.store.list::<LogChunk>(pieces(log).limit(PIECES_AT_ONCE)).await?.items;
        if chunks.is_empty() {
            return Ok(());
        }
        match app.store.commit(chunks.iter().fold(Batch::new(), Batch::delete)).await {
            Ok(()) | Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn content(app: &App, run: &Run, phase: Phase, from: u64, limit: usize) -> Result<Vec<u8>, ApiError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    if let Some(id) = &run.phase(phase).log {
        let blob = app.store.find::<tfe_core::blob::Blob>(id.as_str()).await?.ok_or(ApiError::NotFound)?;
        let to = (from + limit as u64).min(blob.size);
        if from >= to {
            return Ok(Vec::new());
        }
        let parts: Vec<Bytes> = app.blobs.read(&blob, Some(from..to)).await?.try_collect().await.map_err(ApiError::internal)?;
        return Ok(parts.concat());
    }
    let mut found = Vec::new();
    for chunk in chunks_between(app, run.phase_id(phase), from, from + limit as u64).await? {
        let skip = usize::try_from((from + found.len() as u64).saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        let bytes = app.vault.open(&LogChunk::CONTENT.context(&chunk.id), &chunk.content).await?;
        found.extend_from_slice(bytes.get(skip..).unwrap_or_default());
    }
    found.truncate(limit);
    Ok(found)
}

/// The pieces that hold the bytes between two offsets. Readers follow the end, so the search goes backwards from there.
async fn chunks_between(app: &App, log: &str, from: u64, to: u64) -> Result<Vec<Versioned<LogChunk>>, ApiError> {
    let mut found: Vec<Versioned<LogChunk>> = Vec::new();
    let mut skip = 0;
    loop {
        let query = pieces(log).sort(Sort::Id, Direction::Descending).page(skip, PIECES_AT_ONCE);
        let page = app.store.list::<LogChunk>(query).await?.items;
        let done = page.len() < usize::try_from(PIECES_AT_ONCE).unwrap_or(usize::MAX) || page.iter().any(|chunk| chunk.offset <= from);
        found.extend(page.into_iter().filter(|chunk| chunk.offset < to && chunk.offset + chunk.length > from));
        if done {
            found.reverse();
            return Ok(found);
        }
        skip += PIECES_AT_ONCE;
    }
}

/// The content of a log that grows no more, piece by piece. Each is read once, and few are in memory.
fn all_pieces(app: &App, log: &str) -> impl futures::Stream<Item = std::io::Result<Bytes>> + Send + Unpin + use<> {
    let walk = (app.clone(), log.to_owned(), LogChunk::before_all(log), VecDeque::new());
    let parts = stream::try_unfold(walk, |(app, log, mut last, mut read)| async move {
        if read.is_empty() {
            read = pieces_after(&app, &log, &last).await.map_err(std::io::Error::other)?;
        }
        let Some(chunk) = read.pop_front() else { return Ok(None) };
        let bytes = app.vault.open(&LogChunk::CONTENT.context(&chunk.id), &chunk.content).await.map_err(std::io::Error::other)?;
        last = chunk.id.to_string();
        Ok(Some((Bytes::from(bytes.to_vec()), (app, log, last, read))))
    });
    parts.boxed()
}

/// The next pieces of a log. The ids of a log follow each other, so they are found by id alone, wherever they are in it.
async fn pieces_after(app: &App, log: &str, after: &str) -> Result<VecDeque<LogChunk>, ApiError> {
    let next = app.store.list::<LogChunk>(Query::by_id(LogChunk::KIND, Some(after), PIECES_AT_ONCE)).await?.items;
    Ok(next.into_iter().map(Versioned::into_record).take_while(|chunk| chunk.log == log).collect())
}

/// A run with a log in pieces: the run of the first piece behind this place in the order of all, which becomes the place behind
/// that log, and none at the end.
pub(crate) async fn next_in_pieces(app: &App, place: &mut Option<String>) -> Result<Option<Id<Run>>, ApiError> {
    let first = app.store.list::<LogChunk>(Query::by_id(LogChunk::KIND, place.as_deref(), 1)).await?.items.pop();
    *place = first.as_ref().map(|chunk| LogChunk::after_all(&chunk.log));
    Ok(first.map(|chunk| chunk.run_id.clone()))
}

fn pieces(log: &str) -> Query {
    Query::of::<LogChunk>().equals("log", log)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use tfe_core::run::{Event, PhaseStatus, RunOptions};

    use super::*;
    use crate::{
        service::runs,
        trial::{Trial, ticket},
    };

    async fn chunk(app: &App, run: &Run, offset: u64, content: &[u8]) -> LogChunk {
        let id = LogChunk::id_for(run.plan_id.as_str(), offset);
        let (log, length) = (run.plan_id.to_string(), content.len() as u64);
        let content = app.vault.seal(&LogChunk::CONTENT.context(&id), content).await.unwrap();
        LogChunk { id, created_at: app.now(), run_id: run.id.clone(), log, offset, length, content }
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_beyond_the_limit_is_accepted_and_said_once_to_be_missing() {
        let trial = Trial::new().await;
        let run = trial.queue(&trial.workspace("app").await, RunOptions::default()).await;
        let ticket = ticket(&trial.claim().await.unwrap().unwrap());
        let run = trial.find(&run.id).await;
        let end = MAX_LOG_BYTES - 5;
        trial.commit(Batch::new().insert(&chunk(&trial.app, &run, end - 4, b"1234").await)).await;

        let job = trial.job(&ticket).await;
        let append = |offset, content: &'static [u8]| append(&trial.app, &run, Phase::Plan, offset, content, Fence::of(job.clone()));
        append(end, b"567890 and more").await.unwrap();
        append(end, b"567890 and more").await.unwrap();
        append(end + 15, b"and more").await.unwrap();
        append(end + 23, b"and the end").await.unwrap();

        let kept = content(&trial.app, &run, Phase::Plan, end - 4, usize::MAX / 2).await.unwrap();
        assert_eq!(kept, [b"123456789".as_slice(), CUT].concat());
        assert_eq!(length(&trial.app, &run, Phase::Plan).await.unwrap(), MAX_LOG_BYTES + CUT.len() as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_is_joined_by_reading_each_piece_once() {
        const PIECES: u64 = 3 * PIECES_AT_ONCE + 1;
        let trial = Trial::new().await;
        let workspace = trial.workspace("app").await;
        let run = trial.queue(&workspace, RunOptions::default()).await;
        let other = trial.queue(&workspace, RunOptions { plan_only: true, ..RunOptions::default() }).await;
        let mut batch = Batch::new().insert(&chunk(&trial.app, &other, 0, b"of another run").await);
        let mut text = Vec::new();
        for number in 0..PIECES {
            let piece = vec![u8::try_from(number % 251).unwrap(); MAX_CHUNK_BYTES];
            batch = batch.insert(&chunk(&trial.app, &run, text.len() as u64, &piece).await);
            text.extend(piece);
        }
        trial.commit(batch).await;
        runs::step(&trial.app, &run.id, &Event::CancelRequested, None, Batch::new()).await.unwrap();

        let before = trial.store.read.load(Relaxed);
        join(&trial.app, &run.id, Phase::Plan).await.unwrap();
        let read = trial.store.read.load(Relaxed) - before;
        // Once to join and once to remove, and a few besides.
        assert!(read < 2 * PIECES + 10, "{read} records were read for {PIECES} pieces");

        let run = trial.find(&run.id).await;
        assert_eq!(run.plan.status, PhaseStatus::Canceled);
        assert!(run.plan.log.is_some());
        assert!(content(&trial.app, &run, Phase::Plan, 0, text.len() + 1).await.unwrap() == text);
        let mut place = None;
        assert_eq!(next_in_pieces(&trial.app, &mut place).await.unwrap(), Some(other.id.clone()));
        assert_eq!(next_in_pieces(&trial.app, &mut place).await.unwrap(), None);
    }
}
