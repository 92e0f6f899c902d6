//! Whether a blob still holds what was acknowledged.

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::Result;
use crate::{
    file::Content,
    metadata::FileRecord,
    storage::{ByteRange, Storage, StorageError},
};

/// Bytes read and hashed at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// What a look at a file's blob came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was acknowledged, as far as was looked.
    Whole,
    /// There is no blob.
    Missing,
    /// It is longer or shorter.
    WrongSize {
        /// Its size in bytes.
        found_bytes: u64,
    },
    /// It has the right size and other bytes.
    WrongHash,
}

/// Compares a blob's size with its record.
pub async fn verify_size(storage: &dyn Storage, record: &FileRecord) -> Result<Verdict> {
    match storage.size(&record.blob_key).await {
        Ok(size) if size == record.file.content.size_bytes => Ok(Verdict::Whole),
        Ok(found_bytes) => Ok(Verdict::WrongSize { found_bytes }),
        Err(StorageError::Missing(_)) => Ok(Verdict::Missing),
        Err(error) => Err(error.into()),
    }
}

/// Reads a blob whole and compares it with its record. `read` is told of the bytes as they come: where it
/// takes its time, so does the reading.
pub async fn verify_content<F: Future<Output = ()>>(
    storage: &dyn Storage,
    record: &FileRecord,
    read: impl Fn(u64) -> F,
) -> Result<Verdict> {
    let sized = verify_size(storage, record).await?;
    if sized != Verdict::Whole {
        return Ok(sized);
    }
    let Content { size_bytes, sha256: expected } = record.file.content;
    let opened = storage.open(&record.blob_key, ByteRange::whole(size_bytes)).await;
    let blob = match opened {
        Err(StorageError::Missing(_)) => return Ok(Verdict::Missing),
        opened => opened?,
    };
    let mut pieces = blob.into_stream(PIECE_BYTES);
    let mut sha256 = Sha256::new();
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Err(StorageError::Truncated(_)) => return verify_size(storage, record).await,
            piece => piece?,
        };
        let bytes = piece.len() as u64;
        sha256 = hashed(sha256, piece).await?;
        read(bytes).await;
    }
    let found: [u8; 32] = sha256.finalize().into();
    Ok(if found == expected { Verdict::Whole } else { Verdict::WrongHash })
}

/// Takes the next bytes into a hash, on a thread that may block.
pub async fn hashed(mut sha256: Sha256, piece: Bytes) -> Result<Sha256> {
    let hashing = spawn_blocking(move || {
        sha256.update(&piece);
        sha256
    });
    Ok(hashing.await?)
}
