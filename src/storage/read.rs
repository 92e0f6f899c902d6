//! Reading an open blob in pieces: from the page cache where the bytes are there, else on a thread that may
//! block; or as they come from a server.

use std::{
    fmt,
    fs::File,
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use super::{Blob, ByteRange, Result, StorageError};
use crate::blob::BlobKey;

/// The bytes of an open blob; ends cleanly only after the last one.
#[derive(Debug)]
pub struct BlobStream {
    source: Source,
    piece_bytes: usize,
}

#[derive(Debug)]
enum Source {
    Bytes(Bytes),
    File {
        file: Arc<File>,
        key: BlobKey,
        left: ByteRange,
        reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    },
    Remote(RemoteBytes),
}

/// Bytes that come from a server, as fast as they are asked for; dropped, they free what they hold there.
pub struct RemoteBytes {
    key: BlobKey,
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>,
    /// What came and was not taken yet.
    held: Bytes,
    left: u64,
}

impl RemoteBytes {
    /// `len` bytes of the blob `key`, in `pieces` of any size.
    pub fn new(
        key: BlobKey,
        len: u64,
        pieces: impl Stream<Item = Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self { key, pieces: Box::pin(pieces), held: Bytes::new(), left: len }
    }

    /// The same, where the next piece must come within `longest` once it is asked for.
    pub(super) fn impatient(self, longest: Duration) -> Self {
        let pieces = stream::unfold(Some(self.pieces), move |pieces| async move {
            let mut pieces = pieces?;
            match timeout(longest, pieces.next()).await {
                Ok(piece) => Some((piece?, Some(pieces))),
                Err(_) => {
                    let source = format!("nothing came for {} s", longest.as_secs()).into();
                    Some((Err(StorageError::Unavailable { action: "read a blob", source }), None))
                }
            }
        });
        Self { pieces: Box::pin(pieces), ..self }
    }

    /// The next bytes, at most `most`. An end that comes early is a failure, and what comes beyond the end is
    /// never given out.
    fn poll_piece(&mut self, most: usize, context: &mut Context<'_>) -> Poll<Result<Bytes>> {
        while self.held.is_empty() {
            match ready!(self.pieces.as_mut().poll_next(context)) {
                Some(Ok(piece)) => self.held = piece,
                Some(Err(error)) => {
                    self.left = 0;
                    return Poll::Ready(Err(error));
                }
                None => {
                    self.left = 0;
                    return Poll::Ready(Err(StorageError::Truncated(self.key)));
                }
            }
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let piece = self.held.split_to(self.held.len().min(most).min(left));
        self.left -= piece.len() as u64;
        Poll::Ready(Ok(piece))
    }
}

impl fmt::Debug for RemoteBytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RemoteBytes")
            .field("key", &self.key)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl BlobStream {
    pub(super) fn new(blob: Blob, piece_bytes: usize) -> Self {
        let source = match blob {
            Blob::Bytes(bytes) => Source::Bytes(bytes),
            Blob::File { file, key, range } => {
                Source::File { file, key, left: range, reading: None }
            }
            Blob::Remote(bytes) => Source::Remote(bytes),
        };
        Self { source, piece_bytes: piece_bytes.max(1) }
    }

    /// How many bytes are still to come.
    pub fn remaining(&self) -> u64 {
        match &self.source {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::File { left, .. } => left.len,
            Source::Remote(bytes) => bytes.left,
        }
    }
}

impl Stream for BlobStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece_bytes = self.piece_bytes;
        if self.remaining() == 0 {
            return Poll::Ready(None);
        }
        match &mut self.source {
            Source::Bytes(bytes) => {
                let len = bytes.len().min(piece_bytes);
                Poll::Ready(Some(Ok(bytes.split_to(len))))
            }
            Source::File { file, key, left, reading } => {
                let len = usize::try_from(left.len).map_or(piece_bytes, |all| all.min(piece_bytes));
                let read = ready!(poll_read(file, left.offset, len, reading, context));
                let piece = whole(read, key);
                // After a failure nothing is left to read: the stream has ended, and not cleanly.
                let taken = piece.as_ref().map_or(left.len, |piece| piece.len() as u64);
                left.offset += taken;
                left.len -= taken;
                Poll::Ready(Some(piece))
            }
            Source::Remote(bytes) => bytes.poll_piece(piece_bytes, context).map(Some),
        }
    }
}

fn whole(read: io::Result<Vec<u8>>, key: &BlobKey) -> Result<Bytes> {
    match read {
        Ok(piece) => Ok(Bytes::from(piece)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(StorageError::Truncated(*key))
        }
        Err(error) => {
            Err(StorageError::Unavailable { action: "read a blob", source: error.into() })
        }
    }
}

fn poll_read(
    file: &Arc<File>,
    offset: u64,
    len: usize,
    reading: &mut Option<JoinHandle<io::Result<Vec<u8>>>>,
    context: &mut Context<'_>,
) -> Poll<io::Result<Vec<u8>>> {
    if reading.is_none() {
        if let Some(piece) = read_cached(file, offset, len) {
            return Poll::Ready(Ok(piece));
        }
        let file = Arc::clone(file);
        *reading = Some(spawn_blocking(move || {
            let mut piece = vec![0; len];
            file.read_exact_at(&mut piece, offset)?;
            Ok(piece)
        }));
    }
    let Some(handle) = reading else {
        return Poll::Pending;
    };
    let read = ready!(Pin::new(handle).poll(context));
    *reading = None;
    Poll::Ready(read.unwrap_or_else(|error| Err(io::Error::other(error))))
}

/// What the page cache gives at once, 1 to `len` bytes; `None` where the disk would have to be asked.
fn read_cached(file: &File, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut piece = vec![0; len];
    let mut slices = [IoSliceMut::new(&mut piece)];
    match preadv2(file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
        Ok(read @ 1..) => {
            piece.truncate(read);
            Some(piece)
        }
        // Not cached, at the end, or failed: the blocking read waits, or meets the same and reports it.
        Ok(_) | Err(_) => None,
    }
}
