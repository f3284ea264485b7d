//! Reading a state while it is on its way to the blob store, so that a state of any length costs little memory.

use std::io;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use tfe_core::{error::Invalid, state::StateFile};
use tokio::{sync::mpsc, task::JoinHandle};

/// Pieces of a few kilobytes that may wait between the network and the reader.
const MAX_WAITING: usize = 16;

/// The same content, and what it says once all of it has come.
pub(crate) fn read_on_the_way<S>(
    content: S,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + Unpin, JoinHandle<Result<StateFile, Invalid>>)
where
    S: Stream<Item = io::Result<Bytes>> + Send + Unpin,
{
    let (sender, pieces) = mpsc::channel(MAX_WAITING);
    let file = tokio::task::spawn_blocking(move || StateFile::read(io::BufReader::new(Pieces { pieces, rest: Bytes::new() })));
    let content = content.then(move |piece| {
        let sender = sender.clone();
        async move {
            if let Ok(piece) = &piece {
                // A reader that has seen enough is gone; the content is stored all the same.
                let _ = sender.send(piece.clone()).await;
            }
            piece
        }
    });
    (Box::pin(content), file)
}

/// Pieces that come one by one, as a reader for a thread that may block.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl io::Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let length = self.rest.len().min(buffer.len());
        self.rest.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
