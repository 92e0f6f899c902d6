//! Strays: blobs, or what unfinished writers left behind, that no record names. There should be none: every
//! upload is noted before its first byte. So they are removed only when they are old, were seen twice, and
//! are few.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::Result;
use crate::{
    blob::BlobKey,
    error::chain,
    metadata::Upkeep,
    storage::{BlobEntry, Storage, StorageError},
    telemetry::metrics as names,
};

/// Younger blobs are left alone, by the backend's clock.
pub const STRAY_AGE_MIN: Duration = Duration::from_secs(24 * 3600);

/// What a walk over a storage found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StraysFound {
    /// All blobs there are, unfinished ones among them.
    pub blobs: usize,
    /// Those that no record names, of any age.
    pub strays: Vec<BlobEntry>,
    /// What is unfinished of blobs that a record names: uploads under way, or what is left of past ones.
    pub unfinished: Vec<BlobEntry>,
}

impl StraysFound {
    /// Those old enough to be removed.
    pub fn old(&self) -> impl Iterator<Item = &BlobEntry> {
        self.strays.iter().filter(|stray| stray.age >= STRAY_AGE_MIN)
    }
}

/// Walks all blobs and asks for the record of each.
pub async fn find_strays(repository: &dyn Upkeep, storage: &dyn Storage) -> Result<StraysFound> {
    let mut found = StraysFound::default();
    let mut after = None;
    loop {
        let page = storage.list(after.as_ref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key);
        take_strays(repository, &page, &mut found).await?;
    }
    after = None;
    loop {
        let page = storage.list_unfinished(after.as_ref()).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key);
        let unrecorded = take_strays(repository, &page, &mut found).await?;
        let recorded = page.iter().filter(|entry| !unrecorded.contains(&entry.key));
        found.unfinished.extend(recorded);
    }
    Ok(found)
}

/// Notes the strays of a page, and answers which of its keys no record names.
async fn take_strays(
    repository: &dyn Upkeep,
    page: &[BlobEntry],
    found: &mut StraysFound,
) -> Result<HashSet<BlobKey>> {
    let keys: Vec<BlobKey> = page.iter().map(|entry| entry.key).collect();
    let unrecorded: HashSet<BlobKey> = repository.unrecorded(&keys).await?.into_iter().collect();
    let strays = page.iter().filter(|entry| unrecorded.contains(&entry.key));
    found.strays.extend(strays);
    found.blobs += page.len();
    Ok(unrecorded)
}

/// Stops a removal of so many blobs that something else must be wrong, such as a database that was restored
/// from an old backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brake {
    /// At most 1 % of all blobs and at most 1,000, but up to 10 in any case.
    On,
    /// An operator has looked and said to go on.
    Off,
}

impl Brake {
    const STRAYS_MAX: usize = 1000;
    const STRAYS_ALWAYS: usize = 10;

    /// Whether `strays` out of `blobs` may be removed.
    pub fn lets_pass(self, strays: usize, blobs: usize) -> bool {
        strays <= self.most(blobs)
    }

    /// How many out of `all` may go unasked.
    pub fn most(self, all: usize) -> usize {
        match self {
            Self::On => (all / 100).clamp(Self::STRAYS_ALWAYS, Self::STRAYS_MAX),
            Self::Off => usize::MAX,
        }
    }
}

/// Removes strays. Any number of them may run at once.
#[derive(Debug)]
pub struct StraySweeper {
    repository: Arc<dyn Upkeep>,
    storage: Arc<dyn Storage>,
    /// Seen in the pass before.
    suspects: HashSet<BlobKey>,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StraysSwept {
    /// Blobs looked at.
    pub blobs: usize,
    /// Old strays among them.
    pub strays: usize,
    /// Strays removed: those seen in the pass before, too.
    pub removed: usize,
    /// Whether the brake stopped the removal.
    pub braked: bool,
}

impl StraySweeper {
    /// A sweeper over one database and its storage.
    pub fn new(repository: Arc<dyn Upkeep>, storage: Arc<dyn Storage>) -> Self {
        Self { repository, storage, suspects: HashSet::new() }
    }

    /// Sweeps every `interval` until `shutdown`; the first time after one interval.
    pub async fn run(mut self, interval: Duration, shutdown: CancellationToken) {
        let passes = async {
            loop {
                tokio::time::sleep(interval).await;
                match self.pass(Brake::On).await {
                    Ok(swept) if swept.strays == 0 => {}
                    Ok(StraysSwept { braked: true, strays, blobs, .. }) => tracing::error!(
                        strays,
                        blobs,
                        "too many blobs without a record: none is removed; see `files sweep --help`"
                    ),
                    Ok(swept) => tracing::info!(?swept, "looked for blobs without a record"),
                    Err(error) => {
                        tracing::warn!(
                            error = chain(&error),
                            "could not look for blobs without a record"
                        );
                    }
                }
            }
        };
        shutdown.run_until_cancelled(passes).await;
    }

    /// Walks all blobs and removes the old strays that the pass before had seen, too.
    pub async fn pass(&mut self, brake: Brake) -> Result<StraysSwept> {
        let found = find_strays(self.repository.as_ref(), self.storage.as_ref()).await?;
        self.remove_leftovers(&found.unfinished).await;
        let old: HashSet<BlobKey> = found.old().map(|stray| stray.key).collect();
        let suspects = std::mem::replace(&mut self.suspects, old.clone());
        let mut swept =
            StraysSwept { blobs: found.blobs, strays: old.len(), ..StraysSwept::default() };
        metrics::gauge!(names::STRAYS).set(old.len() as f64);
        swept.braked = !brake.lets_pass(old.len(), found.blobs);
        metrics::gauge!(names::SWEEP_BRAKED).set(f64::from(u8::from(swept.braked)));
        if swept.braked {
            return Ok(swept);
        }
        for key in old.intersection(&suspects) {
            self.storage.delete(key).await?;
            swept.removed += 1;
            metrics::counter!(names::STRAYS_REMOVED).increment(1);
            tracing::info!(blob_key = %key, "removed a blob without a record");
        }
        Ok(swept)
    }

    /// A writer sends some requests again whose answers were lost, and can leave a second beginning behind. Next
    /// to a blob that is committed it is nobody's: keys are never used twice. One that cannot be removed holds
    /// up no other, and is met again in the next pass.
    async fn remove_leftovers(&self, unfinished: &[BlobEntry]) {
        for BlobEntry { key, .. } in unfinished.iter().filter(|entry| entry.age >= STRAY_AGE_MIN) {
            let removed = match self.storage.size(key).await {
                Ok(_) => self.storage.discard_unfinished(key).await,
                Err(StorageError::Missing(_)) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                let error = chain(&error);
                tracing::warn!(blob_key = %key, error, "could not remove what is left of an upload");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brake_stops_at_one_percent_or_a_thousand() {
        for (strays, blobs, passes) in [
            (10, 10, true),
            (11, 10, false),
            (20, 2_000, true),
            (21, 2_000, false),
            (1000, 1_000_000, true),
            (1001, 1_000_000, false),
        ] {
            assert_eq!(Brake::On.lets_pass(strays, blobs), passes, "{strays} of {blobs}");
            assert!(Brake::Off.lets_pass(strays, blobs));
        }
    }
}
