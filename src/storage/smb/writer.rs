//! A blob on its way: a staging file that is written in pieces, flushed, and published.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Share,
    error::{SmbError, failure},
    publish::{discard, publish},
    request::{Handle, Open},
};
use crate::{
    blob::BlobKey,
    storage::{BlobWriter, Checkpoint, Result, StorageError},
};

/// Pieces of one blob that are on their way at once.
const PIECES_IN_FLIGHT: usize = 3;

/// Bytes after which the server is asked to sync what it has, so that the last flush finds little left to do.
const FLUSH_BEHIND_BYTES: u64 = 32 * 1024 * 1024;

/// What is on its way; it ends with a writer that is dropped, so that the server lets go of the file.
type Work = AbortOnDropHandle<std::result::Result<(), SmbError>>;

struct Flush {
    work: Work,
    /// How much is durable when it is done, where that is known.
    covers: Option<u64>,
}

pub(super) struct SmbWriter {
    share: Arc<Share>,
    key: BlobKey,
    handle: Arc<Handle>,
    size_bytes: u64,
    in_flight: VecDeque<Work>,
    /// A flush of what was written so far, while more is written.
    flushing: Option<Flush>,
    /// How much is known to be durable.
    durable_bytes: u64,
    /// A piece, or a flush, was lost: there is nothing left to commit.
    has_failed: bool,
}

impl SmbWriter {
    pub(super) async fn create(share: Arc<Share>, key: BlobKey) -> Result<Self> {
        let handle = create_staging(&share, &key).await.map_err(|error| {
            if error.is_taken() {
                StorageError::Exists(key)
            } else {
                failure("create a staging file")(error)
            }
        })?;
        Ok(Self::over(share, key, handle, 0))
    }

    /// Goes on with a staging file from `size_bytes` on, which are durable.
    pub(super) async fn resume(share: Arc<Share>, key: BlobKey, size_bytes: u64) -> Result<Self> {
        let path = share.layout.staged(&key);
        let path = path.as_str();
        let open = |session| Handle::open(session, path, Open::Resume);
        let handle = match share.pool.repeat(open).await {
            Err(error) if error.is_missing() => return Err(StorageError::Missing(key)),
            Err(error) if error.is_shared() => return Err(StorageError::Held(key)),
            opened => opened.map_err(failure("go on with a staging file"))?,
        };
        if handle.size_bytes < size_bytes {
            return Err(StorageError::Missing(key));
        }
        Ok(Self::over(share, key, handle, size_bytes))
    }

    fn over(share: Arc<Share>, key: BlobKey, handle: Handle, size_bytes: u64) -> Self {
        Self {
            share,
            key,
            handle: Arc::new(handle),
            size_bytes,
            in_flight: VecDeque::new(),
            flushing: None,
            durable_bytes: size_bytes,
            has_failed: false,
        }
    }

    async fn start(&mut self, piece: Vec<Bytes>, len: usize) -> Result<()> {
        self.settle(PIECES_IN_FLIGHT - 1).await?;
        let (handle, offset) = (Arc::clone(&self.handle), self.size_bytes);
        self.size_bytes += len as u64;
        if offset / FLUSH_BEHIND_BYTES < self.size_bytes / FLUSH_BEHIND_BYTES {
            self.flush_behind().await?;
        }
        self.in_flight.push_back(AbortOnDropHandle::new(tokio::spawn(async move {
            // The pieces keep their place in the budget until the server has them.
            handle.write(offset, piece.concat()).await
        })));
        Ok(())
    }

    /// Has what was written so far flushed, unless an earlier flush is still at it.
    async fn flush_behind(&mut self) -> Result<()> {
        if self.flushing.as_ref().is_some_and(|flushing| !flushing.work.is_finished()) {
            return Ok(());
        }
        self.settle_flush().await?;
        self.flush_in_background(None);
        Ok(())
    }

    fn flush_in_background(&mut self, covers: Option<u64>) {
        let handle = Arc::clone(&self.handle);
        let staging = covers.is_some().then(|| self.share.layout.staging());
        let flush = tokio::spawn(async move {
            handle.flush().await?;
            match staging {
                // Its name must last as well.
                Some(staging) => handle.session().sync_directory(&staging).await.map(drop),
                None => Ok(()),
            }
        });
        self.flushing = Some(Flush { work: AbortOnDropHandle::new(flush), covers });
    }

    /// Makes everything written so far durable, and its name with it.
    async fn flush_all(&mut self) -> Result<()> {
        self.settle(0).await?;
        self.settle_flush().await?;
        if self.durable_bytes < self.size_bytes {
            self.handle.flush().await.map_err(failure("flush a blob"))?;
            self.durable_bytes = self.size_bytes;
        }
        let staging = self.share.layout.staging();
        let synced = self.handle.session().sync_directory(&staging).await;
        synced.map(drop).map_err(failure("flush a blob"))
    }

    /// Waits for the flush that is under way. One that failed is final: what it lost, no later one brings back.
    async fn settle_flush(&mut self) -> Result<()> {
        let Some(flushing) = self.flushing.take() else {
            return Ok(());
        };
        let flushed = flushing.work.await.map_err(SmbError::from).flatten();
        self.has_failed |= flushed.is_err();
        flushed.map_err(failure("flush a blob"))?;
        self.durable_bytes = flushing.covers.unwrap_or(self.durable_bytes);
        Ok(())
    }

    /// Waits until at most `most` pieces are on their way.
    async fn settle(&mut self, most: usize) -> Result<()> {
        while self.in_flight.len() > most
            && let Some(piece) = self.in_flight.pop_front()
        {
            let written = piece.await.map_err(SmbError::from).flatten();
            self.has_failed |= written.is_err();
            written.map_err(failure("write a blob"))?;
        }
        if self.has_failed {
            return Err(failure("write a blob")(SmbError::Lost));
        }
        Ok(())
    }

    /// The file's one holder, once nothing is on its way any more.
    async fn into_handle(mut self: Box<Self>) -> (Arc<Share>, BlobKey, u64, Option<Handle>) {
        self.in_flight.extend(self.flushing.take().map(|flushing| flushing.work));
        while let Some(piece) = self.in_flight.pop_front() {
            // The file is given up: how its last pieces went is of no interest.
            let _ = piece.await;
        }
        let Self { share, key, handle, size_bytes, .. } = *self;
        (share, key, size_bytes, Arc::into_inner(handle))
    }
}

#[async_trait]
impl BlobWriter for SmbWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let piece_bytes = self.handle.session().piece_bytes;
        for (piece, len) in pieces(chunks, piece_bytes) {
            self.start(piece, len).await?;
        }
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        let covered = self.flushing.as_ref().filter(|flushing| flushing.covers.is_some());
        if covered.is_none_or(|flushing| flushing.work.is_finished()) {
            self.settle(0).await?;
            self.settle_flush().await?;
            self.flush_in_background(Some(self.size_bytes));
        }
        Ok(Checkpoint::plain(self.durable_bytes))
    }

    async fn suspend(mut self: Box<Self>) -> Result<Option<Checkpoint>> {
        self.flush_all().await?;
        let (_, _, size_bytes, handle) = self.into_handle().await;
        if let Some(handle) = handle {
            handle.close().await.map_err(failure("leave a staging file"))?;
        }
        Ok(Checkpoint::plain(size_bytes))
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let written = match self.settle(0).await {
            Ok(()) => self.settle_flush().await,
            failed => failed,
        };
        let trimmed = match written {
            // An earlier writer may have come further than anybody noted.
            Ok(()) if self.handle.size_bytes > self.size_bytes => {
                self.handle.truncate(self.size_bytes).await.map_err(failure("write a blob"))
            }
            written => written,
        };
        let flushed = match trimmed {
            // Never flushed again: a second flush can succeed for what the first one lost.
            Ok(()) => self.handle.flush().await.map_err(failure("flush a blob")),
            failed => failed,
        };
        let (share, key, size_bytes, handle) = self.into_handle().await;
        let Some(handle) = handle else {
            return Err(failure("write a blob")(SmbError::Lost));
        };
        match flushed {
            Ok(()) => publish(&share, &key, size_bytes, handle).await,
            Err(error) => {
                // What was durable before stays for another call; what nobody goes on with is deleted.
                let _ = handle.close().await;
                Err(error)
            }
        }
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let (share, key, _, handle) = self.into_handle().await;
        let is_discarded = match handle {
            Some(handle) => discard(handle).await.is_ok(),
            None => false,
        };
        if is_discarded {
            return Ok(());
        }
        // The name may be another writer's by now, who keeps it.
        let removed = share.remove(&share.layout.staged(&key), true).await;
        removed.map(drop).map_err(failure("remove a staging file"))
    }
}

/// Makes the staging file. One that an attempt whose answer was lost has made is empty, and is taken.
async fn create_staging(share: &Share, key: &BlobKey) -> std::result::Result<Handle, SmbError> {
    let path = share.layout.staged(key);
    let session = share.pool.session().await?;
    match Handle::open(session, &path, Open::New).await {
        Err(error) if error.is_lost() => {}
        opened => return opened,
    }
    let open = |session| Handle::open(session, &path, Open::Again);
    let handle = share.pool.repeat(open).await?;
    if handle.size_bytes == 0 {
        return Ok(handle);
    }
    Err(SmbError::Lost)
}

/// The same bytes in pieces of at most `piece_bytes`, none of them empty, and the length of each.
fn pieces(chunks: Vec<Bytes>, piece_bytes: usize) -> Vec<(Vec<Bytes>, usize)> {
    let mut pieces = Vec::new();
    let (mut piece, mut len) = (Vec::new(), 0);
    for mut chunk in chunks {
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(piece_bytes - len));
            len += part.len();
            piece.push(part);
            if len == piece_bytes {
                pieces.push((std::mem::take(&mut piece), std::mem::take(&mut len)));
            }
        }
    }
    if len > 0 {
        pieces.push((piece, len));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_every_byte_once_and_none_is_too_large() {
        let chunks: Vec<Bytes> =
            [0, 5, 1, 0, 9, 4].map(|len| Bytes::from(vec![len as u8; len])).to_vec();
        let whole = chunks.concat();
        for piece_bytes in [1, 3, 4, 19, 100] {
            let cut = pieces(chunks.clone(), piece_bytes);
            assert!(cut.iter().all(|(piece, len)| piece.concat().len() == *len));
            assert!(cut.iter().all(|(_, len)| (1..=piece_bytes).contains(len)));
            let bytes: Vec<u8> = cut.iter().flat_map(|(piece, _)| piece.concat()).collect();
            assert_eq!(bytes, whole);
        }
        assert!(pieces(vec![Bytes::new()], 4).is_empty());
    }
}
