//! Copying the content that records name from one storage to another, whole or not at all: what a backup and
//! a restore have in common.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use crate::{
    clock::Timestamp,
    error::chain,
    metadata::{FileRecord, Upkeep},
    storage::{ByteRange, Storage, StorageError},
    sweep::{Result, UpkeepError, hashed},
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
