//! A flushed staging file on the way to its place: renamed, or given up. Whatever the reply to the rename was lost
//! for, two names say whether it took place.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Share,
    error::{SmbError, failure},
    request::{Handle, Open},
    session::Session,
};
use crate::{
    blob::BlobKey,
    storage::{Result, StorageError},
};

/// How often, and after what pauses, the two names are looked at when a reply was lost.
const LOOK_AFTER: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(1000),
];

/// Renames the flushed file to its place without replacing anything, and makes the new name durable.
pub(super) async fn publish(
    share: &Share,
    key: &BlobKey,
    size_bytes: u64,
    handle: Handle,
) -> Result<()> {
    let session = Arc::clone(handle.session());
    match handle.rename(&share.layout.blob(key)).await {
        Ok(()) => {
            let closed = match handle.close().await {
                Ok(()) => sync_name(share, &session, key).await,
                failed => failed,
            };
            match closed {
                Err(error) if error.is_lost() => look(share, key, size_bytes).await,
                closed => closed.map_err(failure("publish a blob")),
            }
        }
        Err(error) if error.is_lost() => look(share, key, size_bytes).await,
        Err(error) if error.is_taken() => {
            // What this cannot remove, the sweeper finds by the row.
            let _ = discard(handle).await;
            Err(StorageError::Exists(*key))
        }
        Err(error) => {
            let _ = handle.close().await;
            Err(failure("publish a blob")(error))
        }
    }
}

/// A reply was lost: looks at both names until it is known what took place, and does what is left to do.
async fn look(share: &Share, key: &BlobKey, size_bytes: u64) -> Result<()> {
    let mut last = SmbError::Lost;
    for pause in LOOK_AFTER {
        sleep(pause).await;
        match look_once(share, key, size_bytes).await {
            Ok(()) => return Ok(()),
            // Not known yet: the connection broke again, the rename came to its end meanwhile, or somebody
            // has the file open, be it the session that died.
            Err(error) if may_settle(&error) => {
                if error.is_shared() {
                    share.pool.replace_dead().await;
                }
                last = error;
            }
            Err(error) => return Err(failure("publish a blob")(error)),
        }
    }
    Err(failure("publish a blob")(last))
}

async fn look_once(
    share: &Share,
    key: &BlobKey,
    size_bytes: u64,
) -> std::result::Result<(), SmbError> {
    let session = share.pool.session().await?;
    let (staged, blob) = (share.layout.staged(key), share.layout.blob(key));
    let is_whole = |found: Option<u64>| found == Some(size_bytes);
    match (find(&session, &staged).await?, find(&session, &blob).await?) {
        (None, found) if is_whole(found) => {}
        (found, None) if is_whole(found) => {
            // Alone: another call may go on with it by now, and it is that one's to publish then.
            let handle = Handle::open(Arc::clone(&session), &staged, Open::Resume).await?;
            if handle.size_bytes != size_bytes {
                return Err(SmbError::Lost);
            }
            handle.rename(&blob).await?;
            handle.close().await?;
        }
        _ => return Err(SmbError::Lost),
    }
    sync_name(share, &session, key).await
}

fn may_settle(error: &SmbError) -> bool {
    let is_away = matches!(error, SmbError::Unreachable { .. } | SmbError::Late);
    is_away || error.is_lost() || error.is_taken() || error.is_missing() || error.is_shared()
}

async fn find(session: &Arc<Session>, path: &str) -> std::result::Result<Option<u64>, SmbError> {
    match session.size(path).await {
        Err(error) if error.is_missing() => Ok(None),
        size_bytes => size_bytes.map(Some),
    }
}

/// Makes a blob's name durable: with its directory, or, where the server syncs none, with the file.
async fn sync_name(
    share: &Share,
    session: &Arc<Session>,
    key: &BlobKey,
) -> std::result::Result<(), SmbError> {
    if session.sync_directory(&share.layout.shard_of(key)).await? {
        return Ok(());
    }
    let path = share.layout.blob(key);
    let handle = Handle::open(Arc::clone(session), &path, Open::Flush).await?;
    handle.flush().await?;
    handle.close().await
}

/// Gives a staging file up.
pub(super) async fn discard(handle: Handle) -> std::result::Result<(), SmbError> {
    let removed = handle.remove().await;
    handle.close().await.and(removed)
}
