//! Whether a storage does what it is for: a blob is written, read, listed and deleted.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::{Blob, ByteRange, Result, Storage, StorageError};
use crate::blob::BlobKey;

/// What is asked of a storage, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeStep {
    /// That it answers.
    Reach,
    /// That it keeps a blob.
    Write,
    /// That the blob comes back as it was.
    Read,
    /// That the blob is listed.
    List,
    /// That the blob goes, and is gone.
    Delete,
}

impl ProbeStep {
    /// The step in a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Write => "write",
            Self::Read => "read",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }

    /// What to check where it fails.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Reach => {
                "check host, port and credentials, that the bucket or share is there, that its certificate is \
                 trusted, and that both clocks are right"
            }
            Self::Write => {
                "check that the credentials may write, that the bucket, share or disk is not read-only, and that \
                 it has space left"
            }
            Self::Read => "check that the credentials may read what they have written",
            Self::List => "check that the credentials may list the bucket or directory",
            Self::Delete => {
                "check that the credentials may delete, and on S3 that they may list and abort multipart uploads"
            }
        }
    }
}

impl fmt::Display for ProbeStep {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The step that failed.
#[derive(Debug, thiserror::Error)]
#[error("the storage failed its probe at the step \"{step}\" ({})", step.advice())]
pub struct ProbeError {
    /// Which.
    pub step: ProbeStep,
    /// Why.
    #[source]
    pub source: StorageError,
}

/// Goes through all steps with a blob of `size_bytes`, which is gone in the end. `told` hears of each step
/// that succeeded.
pub async fn probe(
    storage: &dyn Storage,
    size_bytes: usize,
    told: &mut (dyn FnMut(ProbeStep, Duration) + Send),
) -> std::result::Result<(), ProbeError> {
    let at = |step| move |source| ProbeError { step, source };
    let mut began = Instant::now();
    let mut told = |step| {
        told(step, began.elapsed());
        began = Instant::now();
    };
    storage.check().await.map_err(at(ProbeStep::Reach))?;
    told(ProbeStep::Reach);
    let key = fresh_key().map_err(at(ProbeStep::Write))?;
    let content = content(size_bytes);
    let kept = async {
        write(storage, &key, &content).await.map_err(at(ProbeStep::Write))?;
        told(ProbeStep::Write);
        read_back(storage, &key, &content).await.map_err(at(ProbeStep::Read))?;
        told(ProbeStep::Read);
        find_listed(storage, &key, size_bytes).await.map_err(at(ProbeStep::List))?;
        told(ProbeStep::List);
        Ok(())
    };
    if let Err(error) = kept.await {
        // The failure is what is told; what stays is a stray, and swept as one.
        let _ = storage.delete(&key).await;
        return Err(error);
    }
    delete(storage, &key).await.map_err(at(ProbeStep::Delete))?;
    told(ProbeStep::Delete);
    Ok(())
}

/// Whether the storage takes the blob `key`, and lets go of it again. The key is the caller's for this alone: what
/// one attempt leaves behind, the next one removes.
pub(super) async fn probe_write(storage: &dyn Storage, key: &BlobKey) -> Result<()> {
    storage.delete(key).await?;
    write(storage, key, &content(1)).await?;
    storage.delete(key).await
}

/// Whether two storages are one place: what is written to the one can then be seen in the other.
pub async fn is_same_place(one: &dyn Storage, other: &dyn Storage) -> Result<bool> {
    let key = fresh_key()?;
    write(one, &key, &content(1)).await?;
    let seen = other.size(&key).await;
    one.delete(&key).await?;
    match seen {
        Ok(_) => Ok(true),
        Err(StorageError::Missing(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A key that nobody else uses.
pub(super) fn fresh_key() -> Result<BlobKey> {
    BlobKey::random()
        .map_err(|error| StorageError::Unavailable { action: "name a blob", source: error.into() })
}

/// Bytes that no compression makes less, and that are cheap to make.
fn content(size_bytes: usize) -> Bytes {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(size_bytes).collect()
}

async fn write(storage: &dyn Storage, key: &BlobKey, content: &Bytes) -> Result<()> {
    const CHUNK_BYTES: usize = 1024 * 1024;
    let mut writer = storage.create(key).await?;
    for start in (0..content.len()).step_by(CHUNK_BYTES) {
        let chunk = content.slice(start..content.len().min(start + CHUNK_BYTES));
        if let Err(error) = writer.write(vec![chunk]).await {
            // The failure is what is told; what abort leaves behind is a stray, and swept as one.
            let _ = writer.abort().await;
            return Err(error);
        }
    }
    writer.commit().await
}

async fn read_back(storage: &dyn Storage, key: &BlobKey, content: &Bytes) -> Result<()> {
    let blob: Blob = storage.open(key, ByteRange::whole(content.len() as u64)).await?;
    let mut stream = blob.into_stream(content.len());
    let mut at = 0;
    while let Some(piece) = stream.try_next().await? {
        if content.get(at..at + piece.len()) != Some(&piece[..]) {
            return Err(wrong("read a blob", "other bytes came back"));
        }
        at += piece.len();
    }
    Ok(())
}

async fn find_listed(storage: &dyn Storage, key: &BlobKey, size_bytes: usize) -> Result<()> {
    let before = u128::from_be_bytes(*key.as_bytes()).checked_sub(1);
    let before = before.map(|before| BlobKey::from_bytes(before.to_be_bytes()));
    let page = storage.list(before.as_ref()).await?;
    match page.first() {
        Some(entry) if entry.key == *key && entry.size_bytes == size_bytes as u64 => Ok(()),
        _ => Err(wrong("list blobs", "the blob just written is not listed as it is")),
    }
}

async fn delete(storage: &dyn Storage, key: &BlobKey) -> Result<()> {
    storage.delete(key).await?;
    match storage.size(key).await {
        Err(StorageError::Missing(_)) => Ok(()),
        Ok(_) => Err(wrong("delete a blob", "it is still there")),
        Err(error) => Err(error),
    }
}

fn wrong(action: &'static str, problem: &'static str) -> StorageError {
    StorageError::Unavailable { action, source: problem.into() }
}
