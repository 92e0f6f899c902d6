//! Reading a blob: what is small at once, the rest in pieces of which a few are asked for ahead. A connection
//! that breaks is replaced, and the reading goes on from where it was.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::sleep,
};

use super::{
    Share,
    error::{SmbError, failure},
    request::{Handle, Open},
};
use crate::{
    blob::BlobKey,
    storage::{Blob, ByteRange, RemoteBytes, Result, StorageError},
};

/// Up to this size a range comes with the answer that opens the blob.
const AT_ONCE_BYTES: u64 = 256 * 1024;

/// Bytes of one piece.
const PIECE_BYTES: usize = 512 * 1024;

/// Pieces that one reader has asked for ahead of the one it waits for.
const PIECES_AHEAD: usize = 3;

/// Pieces asked for ahead by all readers together.
const PIECES_AHEAD_MAX: usize = 64;

/// How often in a row a reading that broke is taken up again.
const ATTEMPTS: u32 = 3;

const PAUSE: Duration = Duration::from_millis(100);

/// The room for pieces that are asked for ahead.
pub(super) fn read_ahead() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(PIECES_AHEAD_MAX))
}

pub(super) async fn open(share: &Arc<Share>, key: &BlobKey, range: ByteRange) -> Result<Blob> {
    let (size_bytes, opened) = if range.len <= AT_ONCE_BYTES {
        open_small(share, key, range).await
    } else {
        open_large(share, key, range).await
    }
    .map_err(|error| as_missing(error, key))?;
    range.check_within(size_bytes, key)?;
    Ok(opened)
}

fn as_missing(error: SmbError, key: &BlobKey) -> StorageError {
    match error {
        error if error.is_missing() => StorageError::Missing(*key),
        SmbError::ShortRead => StorageError::Truncated(*key),
        error => failure("read a blob")(error),
    }
}

type Opened = std::result::Result<(u64, Blob), SmbError>;

async fn open_small(share: &Arc<Share>, key: &BlobKey, range: ByteRange) -> Opened {
    let read = share.pool.repeat(|session| {
        let path = share.layout.blob(key);
        async move {
            match range.len {
                0 => Ok((session.size(&path).await?, None)),
                len => session.read(&path, range.offset, len as usize).await,
            }
        }
    });
    let (size_bytes, bytes) = read.await?;
    Ok((size_bytes, Blob::Bytes(bytes.unwrap_or_default().into())))
}

async fn open_large(share: &Arc<Share>, key: &BlobKey, range: ByteRange) -> Opened {
    let handle = open_handle(share, key).await?;
    let size_bytes = handle.size_bytes;
    let reading = Reading {
        share: Arc::clone(share),
        key: *key,
        handle: Some(Arc::new(handle)),
        at: range.offset,
        asked: range.offset,
        end: range.end(),
        in_flight: VecDeque::new(),
        failures: 0,
    };
    Ok((size_bytes, Blob::Remote(RemoteBytes::new(*key, range.len, reading.into_pieces()))))
}

async fn open_handle(share: &Share, key: &BlobKey) -> std::result::Result<Handle, SmbError> {
    let path = share.layout.blob(key);
    share.pool.repeat(|session| Handle::open(session, &path, Open::Read)).await
}

struct Reading {
    share: Arc<Share>,
    key: BlobKey,
    /// None once it broke, or is read to its end.
    handle: Option<Arc<Handle>>,
    /// The first byte that was not given out yet.
    at: u64,
    /// The first byte that was not asked for yet.
    asked: u64,
    end: u64,
    in_flight: VecDeque<Piece>,
    failures: u32,
}

struct Piece {
    read: JoinHandle<std::result::Result<Vec<u8>, SmbError>>,
    _room: Option<OwnedSemaphorePermit>,
}

impl Reading {
    fn into_pieces(self) -> impl Stream<Item = Result<Bytes>> + Send {
        stream::try_unfold(self, |mut reading| async move {
            let piece = reading.next().await?;
            Ok(piece.map(|piece| (piece, reading)))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.at < self.end {
            match self.next_piece().await {
                Ok(piece) => {
                    self.failures = 0;
                    return Ok(Some(piece));
                }
                Err(error) if self.may_go_on(&error) => {
                    self.in_flight.clear();
                    self.handle = None;
                    self.asked = self.at;
                    sleep(PAUSE * self.failures).await;
                    self.failures += 1;
                }
                Err(error) => return Err(as_missing(error, &self.key)),
            }
        }
        Ok(None)
    }

    fn may_go_on(&self, error: &SmbError) -> bool {
        let broke = matches!(error, SmbError::Unreachable { .. } | SmbError::Late);
        (broke || error.is_lost()) && self.failures < ATTEMPTS
    }

    async fn next_piece(&mut self) -> std::result::Result<Bytes, SmbError> {
        let handle = match self.handle.take() {
            Some(handle) => handle,
            None => Arc::new(open_handle(&self.share, &self.key).await?),
        };
        self.ask_ahead(&handle);
        let piece = match self.in_flight.pop_front() {
            Some(piece) => piece.read.await??,
            None => return Err(SmbError::ShortRead),
        };
        self.at += piece.len() as u64;
        if self.at < self.end {
            self.ask_ahead(&handle);
            self.handle = Some(handle);
        } else if let Some(handle) = Arc::into_inner(handle) {
            // Closed before the last piece is given out: whoever has it all no longer holds the file. What
            // this cannot close ends with the session.
            let _ = handle.close().await;
        }
        Ok(piece.into())
    }

    /// Asks for the piece that is waited for, and for more while there is room.
    fn ask_ahead(&mut self, handle: &Arc<Handle>) {
        while self.asked < self.end && self.in_flight.len() <= PIECES_AHEAD {
            let room = Arc::clone(&self.share.read_ahead).try_acquire_owned().ok();
            if room.is_none() && !self.in_flight.is_empty() {
                return;
            }
            let most = PIECE_BYTES.min(handle.session().piece_bytes);
            let len = usize::try_from(self.end - self.asked).map_or(most, |left| left.min(most));
            let (handle, offset) = (Arc::clone(handle), self.asked);
            let read = tokio::spawn(async move { handle.read(offset, len).await });
            self.in_flight.push_back(Piece { read, _room: room });
            self.asked += len as u64;
        }
    }
}
