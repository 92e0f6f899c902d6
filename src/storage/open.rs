//! Chooses a backend by configuration.

use std::{path::PathBuf, sync::Arc};

use tokio::task::spawn_blocking;

use super::{
    Result, Storage, StorageError,
    local::{LocalStorage, ReadCache},
    s3::{S3Options, S3Storage},
    smb::{SmbOptions, SmbStorage},
};
use crate::clock::Clock;

/// Which backend, and where.
#[derive(Clone, Debug)]
pub enum StorageTarget {
    /// A directory of a local disk.
    Local {
        /// The directory; made where it is not there.
        root: PathBuf,
        /// What is kept at hand for readers.
        cache: ReadCache,
    },
    /// A bucket.
    S3(Box<S3Options>),
    /// A directory of an SMB share.
    Smb(SmbOptions),
}

/// Opens the backend; what is missing of it is made.
pub async fn open_storage(
    target: StorageTarget,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Storage>> {
    match target {
        StorageTarget::Local { root, cache } => {
            let opened = spawn_blocking(move || LocalStorage::open(&root, cache, clock)).await;
            let storage = opened.map_err(|source| StorageError::Unavailable {
                action: "open the storage",
                source: source.into(),
            })??;
            Ok(Arc::new(storage))
        }
        StorageTarget::S3(options) => Ok(Arc::new(S3Storage::connect(*options, clock).await?)),
        StorageTarget::Smb(options) => Ok(Arc::new(SmbStorage::connect(options, clock).await?)),
    }
}
