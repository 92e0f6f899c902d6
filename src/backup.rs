//! Copying the content that records name from one storage to another, whole or not at all: what a backup, a
//! restore and a move to another storage have in common.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::{
    blob::BlobKey,
    clock::Timestamp,
    error::chain,
    metadata::{FileRecord, Upkeep},
    storage::{ByteRange, Storage, StorageError},
    sweep::{Result, UpkeepError, Verdict, hashed, verify_content},
};

/// Records taken at a time, and blobs copied at once.
const BATCH: usize = 200;
const AT_ONCE: usize = 8;
/// Bytes read at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files whose content was copied.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files in service whose content is not there whole: it was not copied.
    pub damaged: Vec<FileRecord>,
}

/// Copies the content of every file of `records` that can still be seen or undeleted at `now`; each blob is
/// checked against its hash on the way. `copied` is told of each one's bytes.
pub async fn copy_content(
    records: &dyn Upkeep,
    from: &Arc<dyn Storage>,
    to: &Arc<dyn Storage>,
    now: Timestamp,
    copied: &(dyn Fn(u64) + Sync),
) -> Result<Copied> {
    let mut total = Copied::default();
    let mut after = None;
    loop {
        let mut page = records.walk(after.as_ref(), BATCH).await?;
        let Some(last) = page.last() else {
            return Ok(total);
        };
        after = Some(last.file.id);
        page.retain(|record| record.is_kept(now));
        let copies = page.into_iter().map(|record| async move {
            let whole = copy_blob(&record, from.as_ref(), to.as_ref()).await?;
            Ok::<_, UpkeepError>((record, whole))
        });
        let mut copies = stream::iter(copies).buffer_unordered(AT_ONCE);
        while let Some(copy) = copies.next().await {
            match copy? {
                (record, true) => {
                    total.files += 1;
                    total.bytes += record.file.content.size_bytes;
                    copied(record.file.content.size_bytes);
                }
                // Known to be lost, and out of service.
                (record, false) if record.quarantined => {}
                (record, false) => total.damaged.push(record),
            }
        }
    }
}

/// What a pass over the records brought over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// What was copied.
    pub copied: Copied,
    /// Files whose content was there already.
    pub there: u64,
}

/// The blobs of a storage, each with its size in bytes.
pub type PresentBlobs = HashMap<BlobKey, u64>;

/// Every blob that is in a storage now.
pub async fn present_blobs(storage: &dyn Storage) -> Result<PresentBlobs> {
    let mut blobs = PresentBlobs::new();
    let mut after = None;
    loop {
        let page = storage.list(after.as_ref()).await?;
        let Some(last) = page.last() else {
            return Ok(blobs);
        };
        after = Some(last.key);
        blobs.extend(page.iter().map(|entry| (entry.key, entry.size_bytes)));
    }
}

/// Copies the content of every file of `records` that can still be seen or undeleted at `now` and is not in `to`
/// yet; `present` holds what is, and gains what is copied. Each blob is read back from `to` and checked
/// against its hash. `told` hears of the bytes of each file, copied or there.
pub async fn copy_missing(
    records: &dyn Upkeep,
    (from, to): (&dyn Storage, &dyn Storage),
    now: Timestamp,
    present: &mut PresentBlobs,
    told: &(dyn Fn(u64) + Sync),
) -> Result<Moved> {
    let mut moved = Moved::default();
    let mut after = None;
    loop {
        let mut page = records.walk(after.as_ref(), BATCH).await?;
        let Some(last) = page.last() else {
            return Ok(moved);
        };
        after = Some(last.file.id);
        page.retain(|record| record.is_kept(now));
        let (there, missing): (Vec<_>, Vec<_>) = page.into_iter().partition(|record| {
            present.get(&record.blob_key) == Some(&record.file.content.size_bytes)
        });
        moved.there += there.len() as u64;
        there.iter().for_each(|record| told(record.file.content.size_bytes));
        let copies = missing.into_iter().map(|record| async move {
            let whole = copy_and_verify(&record, from, to).await?;
            Ok::<_, UpkeepError>((record, whole))
        });
        let mut copies = stream::iter(copies).buffer_unordered(AT_ONCE);
        while let Some(copy) = copies.next().await {
            let (record, whole) = copy?;
            let size_bytes = record.file.content.size_bytes;
            if whole {
                moved.copied.files += 1;
                moved.copied.bytes += size_bytes;
                present.insert(record.blob_key, size_bytes);
                told(size_bytes);
            } else if records.find_now(&record.file.id).await?.is_some() {
                moved.copied.damaged.push(record);
            }
        }
    }
}

/// Whether the blob was there whole, was copied, and is whole in its new place. What an earlier attempt left
/// there of it goes first.
async fn copy_and_verify(
    record: &FileRecord,
    from: &dyn Storage,
    to: &dyn Storage,
) -> Result<bool> {
    to.delete(&record.blob_key).await?;
    if !copy_blob(record, from, to).await? {
        return Ok(false);
    }
    match verify_content(to, record, |_| std::future::ready(())).await? {
        Verdict::Whole => Ok(true),
        verdict => {
            to.delete(&record.blob_key).await?;
            Err(UpkeepError::NotKept { blob_key: record.blob_key, verdict })
        }
    }
}

/// Whether the blob was there whole, and was copied.
async fn copy_blob(record: &FileRecord, from: &dyn Storage, to: &dyn Storage) -> Result<bool> {
    let key = &record.blob_key;
    let content = record.file.content;
    let whole = ByteRange::whole(content.size_bytes);
    let blob = match from.open(key, whole).await {
        Err(error) if is_lost(&error) => return Ok(false),
        opened => opened?,
    };
    let mut writer = to.create(key).await?;
    let mut sha256 = Sha256::new();
    let mut pieces = blob.into_stream(PIECE_BYTES);
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Err(error) if is_lost(&error) => {
                writer.abort().await?;
                return Ok(false);
            }
            piece => piece?,
        };
        sha256 = hashed(sha256, piece.clone()).await?;
        writer.write(vec![piece]).await?;
    }
    let found: [u8; 32] = sha256.finalize().into();
    let size = match from.size(key).await {
        Err(error) if is_lost(&error) => None,
        size => Some(size?),
    };
    if found != content.sha256 || size != Some(content.size_bytes) {
        writer.abort().await?;
        return Ok(false);
    }
    writer.commit().await?;
    Ok(true)
}

/// Whether a blob is not to be had: gone, cut short, or on a part of the disk that cannot be read. It holds up
/// no other.
fn is_lost(error: &StorageError) -> bool {
    if let StorageError::Unavailable { .. } = error {
        tracing::warn!(error = chain(error), "could not read a blob to copy it");
    }
    matches!(
        error,
        StorageError::Missing(_) | StorageError::Truncated(_) | StorageError::Unavailable { .. }
    )
}
