//! The sweeper: brings records and blobs back in step after crashes, failures and callers who went away.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    error::chain,
    metadata::{FileRepository, MetadataError, Orphan},
    storage::Storage,
};

/// Records taken over at a time: bounds how long a pass holds anything up.
const BATCH: usize = 100;

/// Removes what nobody will publish or read any more. Any number of them may run at once.
#[derive(Debug)]
pub struct Sweeper {
    repository: Arc<dyn FileRepository>,
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
    pub fn new(repository: Arc<dyn FileRepository>, storage: Arc<dyn Storage>) -> Self {
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
    pub async fn pass(&self) -> Result<Swept, MetadataError> {
        let mut swept = Swept::default();
        loop {
            let orphans = self.repository.claim_orphans(BATCH).await?;
            let last = orphans.len() < BATCH;
            let failed_before = swept.failed;
            for orphan in orphans {
                self.remove(&orphan, &mut swept).await?;
            }
            // What failed is claimed again: in the next pass, not in a loop without end.
            if last || swept.failed > failed_before {
                return Ok(swept);
            }
        }
    }

    /// Bytes first, the record last: a crash in between leaves a record that finds the bytes again.
    async fn remove(&self, orphan: &Orphan, swept: &mut Swept) -> Result<(), MetadataError> {
        match self.storage.delete(&orphan.blob_key).await {
            Ok(()) => {
                self.repository.forget(&orphan.file_id).await?;
                swept.removed += 1;
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(file_id = %orphan.file_id, error, "could not remove a blob");
                swept.failed += 1;
            }
        }
        Ok(())
    }
}
