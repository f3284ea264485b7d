//! The bytes of one answer of an object store, taken piece by piece.

use std::{fs::File, io, io::Read, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};
use object_store::{GetResult, GetResultPayload};

/// What is left of an answer.
pub(super) enum Source {
    /// A file, at the right position.
    File(Arc<File>),
    /// A stream, and what came of it but was not taken yet.
    Stream(BoxStream<'static, object_store::Result<Bytes>>, BytesMut),
}

impl Source {
    pub(super) fn new(answer: GetResult) -> Self {
        let start = answer.range.start;
        match answer.payload {
            GetResultPayload::File(mut file, _) => match io::Seek::seek(&mut file, io::SeekFrom::Start(start)) {
                Ok(_) => Self::File(Arc::new(file)),
                Err(error) => Self::Stream(futures::stream::iter([Err(failed(error))]).boxed(), BytesMut::new()),
            },
            GetResultPayload::Stream(stream) => Self::Stream(stream, BytesMut::new()),
        }
    }

    /// The next `length` bytes; an error if the answer breaks off before.
    pub(super) async fn take(&mut self, length: usize) -> object_store::Result<Bytes> {
        match self {
            Self::File(file) => {
                let file = Arc::clone(file);
                let read = move || {
                    let mut bytes = vec![0; length];
                    (&*file).read_exact(&mut bytes).map(|()| Bytes::from(bytes)).map_err(failed)
                };
                tokio::task::spawn_blocking(read).await.map_err(failed)?
            }
            Self::Stream(stream, gathered) => {
                while gathered.len() < length {
                    let cut = || failed(io::Error::from(io::ErrorKind::UnexpectedEof));
                    gathered.extend_from_slice(&stream.next().await.ok_or_else(cut)??);
                }
                Ok(gathered.split_to(length).freeze())
            }
        }
    }
}

fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> object_store::Error {
    object_store::Error::Generic { store: "answer", source: source.into() }
}
