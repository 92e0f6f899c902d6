//! Reading a range as it comes, and going on where a connection broke.

use std::{sync::Arc, time::Duration};

use aws_sdk_s3::{operation::get_object::GetObjectOutput, primitives::ByteStream};
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::{sleep, timeout};

use super::{error::Failure, store::Store};
use crate::{
    blob::BlobKey,
    error::chain,
    storage::{ByteRange, Result, StorageError},
};

const ACTION: &str = "read a blob";
/// Longest that the store may send nothing of what is asked for.
const SILENCE_MAX: Duration = Duration::from_secs(8);
/// A range is asked for again so often without a byte of it arriving.
const ATTEMPTS_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// A range that is being read.
pub(super) struct Reading {
    store: Arc<Store>,
    key: BlobKey,
    left: ByteRange,
    body: Option<ByteStream>,
    /// How often it broke since the last byte.
    broken: u32,
}

impl Reading {
    /// Asks for a range, which must not be empty.
    pub(super) async fn begin(store: Arc<Store>, key: BlobKey, range: ByteRange) -> Result<Self> {
        let body = open(&store, &key, range).await?;
        Ok(Self { store, key, left: range, body: Some(body), broken: 0 })
    }

    /// The bytes, as fast as they are asked for.
    pub(super) fn into_pieces(self) -> impl Stream<Item = Result<Bytes>> + Send {
        stream::try_unfold(self, async |mut reading| {
            let piece = reading.next().await?;
            Ok(piece.map(|piece| (piece, reading)))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.left.len > 0 {
            let body = match &mut self.body {
                Some(body) => body,
                none => none.insert(open(&self.store, &self.key, self.left).await?),
            };
            let problem = match timeout(SILENCE_MAX, body.next()).await {
                Ok(Some(Ok(piece))) => {
                    let taken = self.left.len.min(piece.len() as u64);
                    self.left.offset += taken;
                    self.left.len -= taken;
                    self.broken = 0;
                    return Ok(Some(piece));
                }
                Ok(Some(Err(error))) => chain(&error),
                Ok(None) => "the answer ended early".to_owned(),
                Err(_) => format!("nothing came for {} s", SILENCE_MAX.as_secs()),
            };
            self.body = None;
            self.broken += 1;
            if self.broken >= ATTEMPTS_MAX {
                return Err(StorageError::Unavailable { action: ACTION, source: problem.into() });
            }
            tracing::debug!(blob_key = %self.key, problem, "a read broke and goes on");
            sleep(PAUSE * self.broken).await;
        }
        Ok(None)
    }
}

async fn open(store: &Store, key: &BlobKey, range: ByteRange) -> Result<ByteStream> {
    let answer = store
        .client
        .get_object()
        .bucket(&store.options.bucket)
        .key(store.object(key))
        .range(format!("bytes={}-{}", range.offset, range.end().saturating_sub(1)))
        .send()
        .await;
    match answer.map_err(Failure::of) {
        Ok(answer) => checked(answer, key, range),
        Err(failed) if failed.is_past_the_end() => Err(StorageError::Truncated(*key)),
        Err(failed) if failed.is_absence() => Err(StorageError::Missing(*key)),
        Err(failed) => Err(failed.into_error(ACTION)),
    }
}

/// The body, if it is what was asked for: a store may cut a range to the blob, or pass over it.
fn checked(answer: GetObjectOutput, key: &BlobKey, range: ByteRange) -> Result<ByteStream> {
    let offset = match answer.content_range() {
        None => Some(0),
        Some(text) => text
            .strip_prefix("bytes ")
            .and_then(|text| text.split_once('-'))
            .and_then(|(offset, _)| offset.parse().ok()),
    };
    if offset != Some(range.offset) {
        let failed = Failure::unbelievable("the store answered with another range");
        return Err(failed.into_error(ACTION));
    }
    let len = answer.content_length().and_then(|len| u64::try_from(len).ok());
    match len {
        Some(len) if len < range.len => Err(StorageError::Truncated(*key)),
        _ => Ok(answer.body),
    }
}
