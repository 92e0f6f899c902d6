//! The scrub: reads all content again, in the background and at a bounded rate, so that damage is found before
//! somebody needs the bytes.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Result, Verdict, verify_content};
use crate::{
    clock::Clock,
    error::chain,
    metadata::{FileRecord, Upkeep},
    storage::Storage,
    telemetry::metrics as names,
};

/// Files taken at a time.
const BATCH: usize = 16;
/// How often a scrub that has nothing to do looks again.
const IDLE: Duration = Duration::from_secs(300);

/// How much is read, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPace {
    /// Within which time all content is read once.
    pub period: Duration,
    /// Most bytes a second.
    pub bytes_per_s_max: u64,
}

/// Verifies content whose last verification is longest ago. Any number of them may run at once: each file is
/// taken by one.
#[derive(Debug)]
pub struct Scrubber {
    repository: Arc<dyn Upkeep>,
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    pace: ScrubPace,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Files read.
    pub verified: usize,
    /// Those found damaged.
    pub damaged: usize,
}

impl Scrubber {
    /// A scrub over one database and its storage.
    pub fn new(
        repository: Arc<dyn Upkeep>,
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        pace: ScrubPace,
    ) -> Self {
        Self { repository, storage, clock, pace }
    }

    /// Scrubs until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let batches = async {
            loop {
                match self.batch().await {
                    Ok(scrubbed) if scrubbed.verified > 0 => continue,
                    Ok(_) => {}
                    Err(error) => tracing::warn!(error = chain(&error), "could not verify content"),
                }
                tokio::time::sleep(IDLE).await;
            }
        };
        shutdown.run_until_cancelled(batches).await;
    }

    /// Verifies the next files that are due.
    pub async fn batch(&self) -> Result<Scrubbed> {
        let before = self.clock.now().minus(self.pace.period);
        let mut scrubbed = Scrubbed::default();
        for record in self.repository.claim_unverified(before, BATCH).await? {
            scrubbed.verified += 1;
            scrubbed.damaged += usize::from(self.verify(&record).await?);
        }
        Ok(scrubbed)
    }

    /// Tells whether the content is damaged, and notes it.
    async fn verify(&self, record: &FileRecord) -> Result<bool> {
        let paced = |bytes: u64| {
            metrics::counter!(names::SCRUBBED_BYTES).increment(bytes);
            let span = bytes as f64 / self.pace.bytes_per_s_max.max(1) as f64;
            tokio::time::sleep(Duration::try_from_secs_f64(span).unwrap_or(IDLE))
        };
        let verdict = verify_content(self.storage.as_ref(), record, paced).await?;
        let damaged = verdict != Verdict::Whole;
        let repository = self.repository.as_ref();
        note_verdict(repository, record, verdict).await?;
        Ok(damaged)
    }
}

/// Takes a damaged file out of service, and one that is whole again back into it.
pub async fn note_verdict(
    repository: &dyn Upkeep,
    record: &FileRecord,
    verdict: Verdict,
) -> Result<()> {
    let file_id = record.file.id;
    let damaged = verdict != Verdict::Whole;
    // Deleted for good while it was read, it is nobody's loss.
    let there = repository.find(&file_id).await?.is_some();
    if !there || damaged == record.quarantined {
        return Ok(());
    }
    repository.quarantine(&file_id, damaged).await?;
    if damaged {
        metrics::counter!(names::DAMAGED).increment(1);
        tracing::error!(%file_id, blob_key = %record.blob_key, ?verdict, "content is damaged");
    } else {
        tracing::info!(%file_id, "content is whole again");
    }
    Ok(())
}
