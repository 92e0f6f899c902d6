//! The scrub: reads all content again, in the background and at a bounded rate, so that damage is found before
//! somebody needs the bytes.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Result, UpkeepError, Verdict, verify_content};
use crate::{
    clock::Clock,
    error::chain,
    metadata::{FileRecord, Upkeep},
    storage::Storage,
    telemetry::metrics as names,
};

/// Files taken at a time.
const BATCH: usize = 16;
/// How long a file taken is this scrub's.
const LEASE: Duration = Duration::from_secs(24 * 3600);
/// What a look at a file counts for, however small or missing its blob.
const LOOK_BYTES: u64 = 4096;
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
    /// Files taken.
    pub taken: usize,
    /// Those found damaged.
    pub damaged: usize,
    /// Those that could not be read now; they are due again soon.
    pub unreadable: usize,
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
                    Ok(Scrubbed { taken: 1.., unreadable: 0, .. }) => continue,
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
        let taken = self.repository.claim_unverified(before, LEASE, BATCH).await?;
        let mut scrubbed = Scrubbed { taken: taken.len(), ..Scrubbed::default() };
        let mut verdicts = Vec::new();
        for record in taken {
            match self.verify(&record).await {
                Ok(verdict) => verdicts.push((record, verdict)),
                // One blob that cannot be read says nothing of the others.
                Err(UpkeepError::Storage(error)) => {
                    scrubbed.unreadable += 1;
                    metrics::counter!(names::UNREADABLE).increment(1);
                    let (file_id, blob_key) = (record.file.id, record.blob_key);
                    let error = chain(&error);
                    tracing::warn!(%file_id, %blob_key, error, "could not read content to verify it");
                }
                Err(error) => return Err(error),
            }
        }
        let missing = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Missing).count();
        if missing == BATCH {
            tracing::error!(
                missing,
                "every blob looked at is missing: nothing is taken out of service; is the storage the right one?"
            );
            scrubbed.unreadable += missing;
            return Ok(scrubbed);
        }
        for (record, verdict) in verdicts {
            scrubbed.damaged += usize::from(verdict != Verdict::Whole);
            note_verdict(self.repository.as_ref(), &record, verdict).await?;
            self.repository.note_verified(&record.file.id).await?;
        }
        Ok(scrubbed)
    }

    /// Reads one file at the scrub's pace.
    async fn verify(&self, record: &FileRecord) -> Result<Verdict> {
        self.pause(LOOK_BYTES).await;
        let paced = |bytes: u64| {
            metrics::counter!(names::SCRUBBED_BYTES).increment(bytes);
            self.pause(bytes)
        };
        verify_content(self.storage.as_ref(), record, paced).await
    }

    /// Waits as long as so many bytes may take.
    fn pause(&self, bytes: u64) -> impl Future<Output = ()> + use<> {
        let span = bytes as f64 / self.pace.bytes_per_s_max.max(1) as f64;
        tokio::time::sleep(Duration::try_from_secs_f64(span).unwrap_or(IDLE))
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
