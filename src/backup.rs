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
    storage::{BlobWriter, ByteRange, Storage, StorageError},
    sweep::{Result, UpkeepError, Verdict, hashed, verify_content, verify_size},
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
            let copy = copy_blob(&record, from.as_ref(), to.as_ref()).await?;
            if let Copy::Unreadable(error) = &copy {
                // It holds up no other: the backup says that it is not there whole.
                tracing::warn!(error = chain(error), "could not read a blob to copy it");
            }
            Ok::<_, UpkeepError>((record, matches!(copy, Copy::Whole)))
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
pub type KnownBlobs = HashMap<BlobKey, u64>;

/// Every blob that is in a storage now.
pub async fn present_blobs(storage: &dyn Storage) -> Result<KnownBlobs> {
    let mut blobs = KnownBlobs::new();
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

/// Copies the content of every file of `records` that can still be seen or undeleted at `now` and is not whole in
/// `to` yet. What `known` holds in the right size counts as whole there; everything else is read back from `to`
/// and checked against its hash, and `known` gains it. `told` hears of the bytes of each file, copied or there.
/// A storage that fails ends it: what was copied stays, and a next attempt goes on.
pub async fn copy_missing(
    records: &dyn Upkeep,
    (from, to): (&dyn Storage, &dyn Storage),
    now: Timestamp,
    known: &mut KnownBlobs,
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
        let (there, unknown): (Vec<_>, Vec<_>) = page.into_iter().partition(|record| {
            known.get(&record.blob_key) == Some(&record.file.content.size_bytes)
        });
        moved.there += there.len() as u64;
        there.iter().for_each(|record| told(record.file.content.size_bytes));
        let copies = unknown.into_iter().map(|record| async move {
            let outcome = bring_over(&record, from, to).await?;
            Ok::<_, UpkeepError>((record, outcome))
        });
        let mut copies = stream::iter(copies).buffer_unordered(AT_ONCE);
        while let Some(copy) = copies.next().await {
            let (record, outcome) = copy?;
            let size_bytes = record.file.content.size_bytes;
            match outcome {
                Brought::There => moved.there += 1,
                Brought::Copied => {
                    moved.copied.files += 1;
                    moved.copied.bytes += size_bytes;
                }
                Brought::Lost => {
                    // Deleted for good since it was walked over, it is nobody's loss.
                    if records.find_now(&record.file.id).await?.is_some() {
                        moved.copied.damaged.push(record);
                    }
                    continue;
                }
            }
            known.insert(record.blob_key, size_bytes);
            told(size_bytes);
        }
    }
}

/// What became of a blob that is to be in another storage.
enum Brought {
    /// It was whole there.
    There,
    /// It was copied, and is whole there.
    Copied,
    /// It is not whole where it is.
    Lost,
}

/// What lies in `to` under the blob's key is removed only where it is not the blob and `from` has it.
async fn bring_over(record: &FileRecord, from: &dyn Storage, to: &dyn Storage) -> Result<Brought> {
    let all_at_once = |_| std::future::ready(());
    if verify_content(to, record, all_at_once).await? == Verdict::Whole {
        return Ok(Brought::There);
    }
    if verify_size(from, record).await? != Verdict::Whole {
        return Ok(Brought::Lost);
    }
    to.delete(&record.blob_key).await?;
    match copy_blob(record, from, to).await? {
        Copy::Whole => {}
        Copy::Lost => return Ok(Brought::Lost),
        Copy::Unreadable(error) => return Err(error.into()),
    }
    match verify_content(to, record, all_at_once).await? {
        Verdict::Whole => Ok(Brought::Copied),
        verdict => {
            to.delete(&record.blob_key).await?;
            Err(UpkeepError::NotKept { blob_key: record.blob_key, verdict })
        }
    }
}

/// What became of a copy.
enum Copy {
    Whole,
    /// The blob is gone, cut short, or other than it was.
    Lost,
    /// It cannot be read now, or not on this part of the disk.
    Unreadable(StorageError),
}

/// Copies a blob, if it is there whole; nothing is left of an attempt that fails.
async fn copy_blob(record: &FileRecord, from: &dyn Storage, to: &dyn Storage) -> Result<Copy> {
    let mut writer = to.create(&record.blob_key).await?;
    match fill(record, from, writer.as_mut()).await {
        Ok(Copy::Whole) => {
            writer.commit().await?;
            Ok(Copy::Whole)
        }
        Ok(other) => {
            writer.abort().await?;
            Ok(other)
        }
        Err(error) => {
            // The failure is what is told; a next attempt removes what this leaves.
            let _ = writer.abort().await;
            Err(error)
        }
    }
}

/// Writes all of a blob, and says whether it is what the record says.
async fn fill(
    record: &FileRecord,
    from: &dyn Storage,
    writer: &mut dyn BlobWriter,
) -> Result<Copy> {
    let (key, content) = (&record.blob_key, record.file.content);
    let unread = |error| match error {
        StorageError::Unavailable { .. } => Ok(Copy::Unreadable(error)),
        StorageError::Missing(_) | StorageError::Truncated(_) => Ok(Copy::Lost),
        error => Err(error.into()),
    };
    let blob = match from.open(key, ByteRange::whole(content.size_bytes)).await {
        Ok(blob) => blob,
        Err(error) => return unread(error),
    };
    let mut sha256 = Sha256::new();
    let mut pieces = blob.into_stream(PIECE_BYTES);
    while let Some(piece) = pieces.next().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => return unread(error),
        };
        sha256 = hashed(sha256, piece.clone()).await?;
        writer.write(vec![piece]).await?;
    }
    let found: [u8; 32] = sha256.finalize().into();
    let size = match from.size(key).await {
        Ok(size) => size,
        Err(error) => return unread(error),
    };
    let whole = found == content.sha256 && size == content.size_bytes;
    Ok(if whole { Copy::Whole } else { Copy::Lost })
}
