//! The sweeper: brings records and blobs back in step after crashes, failures and callers who went away.

mod scrub;
mod strays;
mod verify;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    blob::BlobKey,
    error::{ErrorCode, chain},
    metadata::{MetadataError, Orphan, Upkeep},
    storage::{Storage, StorageError},
    telemetry::metrics as names,
};
pub use scrub::{ScrubPace, Scrubbed, Scrubber, note_verdict};
pub use strays::{Brake, STRAY_AGE_MIN, StraySweeper, StraysFound, StraysSwept, find_strays};
pub use verify::{Verdict, hashed, verify_content, verify_size};

/// Records taken over at a time: bounds how long a pass holds anything up.
const BATCH: usize = 100;
/// How long a record taken over is this sweeper's, and after which one that failed is tried again.
const CLAIM: Duration = Duration::from_secs(300);

/// What sweeping, checking and copying return.
pub type Result<T> = std::result::Result<T, UpkeepError>;

/// Why a store could not be kept in step, checked or copied.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The database failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// What a storage took is not what it gives back.
    #[error("blob {blob_key} came back from its new place other than it was: {verdict:?}")]
    NotKept {
        /// Which blob; it was removed there again.
        blob_key: BlobKey,
        /// What was found.
        verdict: Verdict,
    },
    /// A task of ours ended before its work did.
    #[error("a task ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl UpkeepError {
    /// The row of the error table.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Storage(error) => error.code(),
            Self::Metadata(error) => error.code(),
            Self::NotKept { .. } => ErrorCode::ContentDamaged,
            Self::Task(_) => ErrorCode::Internal,
        }
    }
}

/// Removes what nobody will publish or read any more, as its records say. Any number of them may run at once.
#[derive(Debug)]
pub struct Sweeper {
    repository: Arc<dyn Upkeep>,
    storage: Arc<dyn Storage>,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Blobs and records removed.
    pub removed: usize,
    /// Blobs that could not be removed now; a later pass tries again.
    pub failed: usize,
}

impl Sweeper {
    /// A sweeper over one database and its storage.
    pub fn new(repository: Arc<dyn Upkeep>, storage: Arc<dyn Storage>) -> Self {
        Self { repository, storage }
    }

    /// Sweeps every `interval`, and at once, until `shutdown`.
    pub async fn run(&self, interval: Duration, shutdown: CancellationToken) {
        let passes = async {
            let mut ticks = tokio::time::interval(interval);
            loop {
                ticks.tick().await;
                match self.pass().await {
                    Ok(swept) if swept == Swept::default() => {}
                    Ok(Swept { removed, failed }) => tracing::info!(removed, failed, "swept"),
                    Err(error) => tracing::warn!(error = chain(&error), "could not sweep"),
                }
            }
        };
        shutdown.run_until_cancelled(passes).await;
    }

    /// Removes everything that is orphaned now.
    pub async fn pass(&self) -> Result<Swept> {
        let mut swept = Swept::default();
        loop {
            let orphans = self.repository.claim_orphans(BATCH, CLAIM).await?;
            let last = orphans.len() < BATCH;
            for orphan in orphans {
                self.remove(&orphan, &mut swept).await?;
            }
            if last {
                return Ok(swept);
            }
        }
    }

    /// Bytes first, the record last: a crash in between leaves a record that finds the bytes again.
    async fn remove(&self, orphan: &Orphan, swept: &mut Swept) -> Result<()> {
        match self.storage.delete(&orphan.blob_key).await {
            Ok(()) => {
                self.repository.forget(&orphan.file_id).await?;
                swept.removed += 1;
                metrics::counter!(names::SWEPT).increment(1);
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(file_id = %orphan.file_id, error, "could not remove a blob");
                swept.failed += 1;
                metrics::counter!(names::SWEEP_FAILURES).increment(1);
            }
        }
        Ok(())
    }
}
