//! A caller's stream in pieces worth handing to another thread, within one budget of memory for all uploads.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    error::FieldError,
    file::Sha256Digest,
    service::{Result, ServiceError},
};

/// One message of an upload after its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadPart {
    /// The next bytes; never empty.
    Data(Bytes),
    /// The end, with the hash that the content must have, where one was given.
    Finish(Option<Sha256Digest>),
}

/// The messages of an upload after its start. The stream's end says nothing: a cancelled call ends alike.
pub type UploadParts = Pin<Box<dyn Stream<Item = Result<UploadPart>> + Send>>;

/// A piece is handed on when it has this many bytes, or when nothing more has arrived yet.
const PIECE_BYTES: usize = 1024 * 1024;
/// Bounds the bookkeeping where a caller sends a byte a message.
const PIECE_CHUNKS_MAX: usize = 512;

/// How long the end of the stream is waited for once it is finished.
const FINISH_LINGER: Duration = Duration::from_secs(1);

/// What comes next of an upload.
pub(super) enum Piece {
    /// The next bytes, each chunk counted against the budget for as long as it lives.
    Data(Vec<Bytes>),
    /// The end.
    Finish(Option<Sha256Digest>),
}

/// Reads an upload's messages.
pub(super) struct Pieces {
    parts: UploadParts,
    /// A message that arrived while a piece was gathered and comes after it.
    held_back: Option<Option<Result<UploadPart>>>,
    budget: Arc<Semaphore>,
    idle_max: Duration,
}

impl Pieces {
    pub(super) fn new(parts: UploadParts, budget: Arc<Semaphore>, idle_max: Duration) -> Self {
        Self { parts, held_back: None, budget, idle_max }
    }

    /// Waits for the next piece, as long as the caller may be silent.
    pub(super) async fn next(&mut self) -> Result<Piece> {
        match self.next_part().await? {
            None => Err(ServiceError::UploadIncomplete { persisted_size_bytes: 0 }),
            Some(UploadPart::Data(first)) => Ok(Piece::Data(self.gather(first).await)),
            Some(UploadPart::Finish(sha256)) => match self.after_finish().await? {
                None => Ok(Piece::Finish(sha256)),
                Some(_) => Err(FieldError::new("finish", "must be the last message").into()),
            },
        }
    }

    async fn next_part(&mut self) -> Result<Option<UploadPart>> {
        if let Some(held_back) = self.held_back.take() {
            return held_back.transpose();
        }
        match timeout(self.idle_max, self.parts.next()).await {
            Ok(part) => part.transpose(),
            Err(_) => Err(ServiceError::UploadStalled { idle_s: self.idle_max.as_secs() }),
        }
    }

    /// What follows finish: nothing, if all is well. A caller who leaves the stream open has finished, too.
    async fn after_finish(&mut self) -> Result<Option<UploadPart>> {
        match timeout(FINISH_LINGER, self.next_part()).await {
            Ok(part) => part,
            Err(_) => Ok(None),
        }
    }

    /// Adds what has arrived already. Waits for the budget only while nothing of it is held, so that no two
    /// uploads can wait for each other.
    async fn gather(&mut self, first: Bytes) -> Vec<Bytes> {
        let mut size = first.len();
        let mut chunks = vec![admitted(Arc::clone(&self.budget), first).await];
        while size < PIECE_BYTES && chunks.len() < PIECE_CHUNKS_MAX {
            let Some(part) = self.parts.next().now_or_never() else {
                break;
            };
            match part {
                Some(Ok(UploadPart::Data(chunk))) => match self.permits(chunk.len()) {
                    Some(permit) => {
                        size += chunk.len();
                        chunks.push(counted(chunk, permit));
                    }
                    None => {
                        self.held_back = Some(Some(Ok(UploadPart::Data(chunk))));
                        break;
                    }
                },
                other => {
                    self.held_back = Some(other);
                    break;
                }
            }
        }
        chunks
    }

    fn permits(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        Arc::clone(&self.budget).try_acquire_many_owned(bytes).ok()
    }
}

/// Waits until the budget has room for the chunk.
async fn admitted(budget: Arc<Semaphore>, chunk: Bytes) -> Bytes {
    let bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
    match budget.acquire_many_owned(bytes).await {
        Ok(permit) => counted(chunk, permit),
        // The budget is never closed.
        Err(_) => chunk,
    }
}

/// A chunk that gives its share of the budget back when its last holder drops it.
struct Counted {
    chunk: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.chunk
    }
}

fn counted(chunk: Bytes, permit: OwnedSemaphorePermit) -> Bytes {
    Bytes::from_owner(Counted { chunk, _permit: permit })
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn pieces(parts: Vec<UploadPart>, budget_bytes: usize) -> (Pieces, Arc<Semaphore>) {
        let budget = Arc::new(Semaphore::new(budget_bytes));
        let parts = Box::pin(stream::iter(parts.into_iter().map(Ok)));
        let idle_max = Duration::from_secs(60);
        (Pieces::new(parts, Arc::clone(&budget), idle_max), budget)
    }

    fn data(bytes: usize) -> UploadPart {
        UploadPart::Data(Bytes::from(vec![7; bytes]))
    }

    #[tokio::test]
    async fn what_has_arrived_becomes_one_piece_within_the_budget() -> Result<()> {
        let parts = vec![data(10), data(10), data(10), UploadPart::Finish(None)];
        let (mut pieces, budget) = pieces(parts, 25);
        let Piece::Data(first) = pieces.next().await? else {
            panic!("data comes first");
        };
        assert_eq!((first.len(), budget.available_permits()), (2, 5));
        drop(first);
        assert_eq!(budget.available_permits(), 25);
        assert!(matches!(pieces.next().await?, Piece::Data(chunks) if chunks.len() == 1));
        assert!(matches!(pieces.next().await?, Piece::Finish(None)));
        Ok(())
    }

    #[tokio::test]
    async fn an_end_without_finish_is_incomplete() {
        let (mut pieces, _) = pieces(vec![], 25);
        assert!(matches!(pieces.next().await, Err(ServiceError::UploadIncomplete { .. })));
    }

    #[tokio::test]
    async fn nothing_may_follow_finish() {
        let (mut pieces, _) = pieces(vec![UploadPart::Finish(None), data(1)], 25);
        assert!(matches!(pieces.next().await, Err(ServiceError::Field(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_left_open_after_finish_is_finished() {
        let finish = stream::iter([Ok(UploadPart::Finish(None))]);
        let parts: UploadParts = Box::pin(finish.chain(stream::pending()));
        let mut pieces = Pieces::new(parts, Arc::new(Semaphore::new(1)), Duration::from_secs(60));
        assert!(matches!(pieces.next().await, Ok(Piece::Finish(None))));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_an_upload() {
        let parts: UploadParts = Box::pin(stream::pending());
        let mut pieces = Pieces::new(parts, Arc::new(Semaphore::new(1)), Duration::from_secs(60));
        let stalled = pieces.next().await;
        assert!(matches!(stalled, Err(ServiceError::UploadStalled { idle_s: 60 })));
    }
}
