//! The check of everything: every file has its blob, every blob its record, and the counters agree. It mends
//! what can be mended and never deletes a visible file; content that is lost is taken out of service.

mod finding;

use std::sync::Arc;

use crate::{
    metadata::{FileRecord, Upkeep},
    storage::{BlobEntry, Storage, StorageError},
    sweep::{
        Brake, Result, Sweeper, UpkeepError, Verdict, find_strays, note_verdict, verify_content,
        verify_size,
    },
};
pub use finding::{Finding, Problem};

/// Records looked at together.
const BATCH: usize = 200;
/// Most stale records named one by one.
const STALE_NAMED_MAX: usize = 10_000;

/// How far the check goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsckOptions {
    /// Whether content is read and hashed, rather than measured alone.
    pub content: bool,
    /// Whether what is found is mended.
    pub repair: bool,
    /// Whether blobs without a record are removed, and lost content taken out of service, however much it is.
    pub brake: Brake,
}

/// What is told while the check goes on.
#[derive(Clone, Debug)]
pub enum Event {
    /// Another file was looked at, with so many bytes.
    Looked(u64),
    /// Something is not as it should be.
    Found(Finding),
}

/// What the check came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files looked at, soft-deleted ones among them.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// What was found.
    pub findings: u64,
    /// What of it was left as it was.
    pub left: u64,
}

/// A check over one database and its storage, beside running servers or without any.
#[derive(Debug)]
pub struct Fsck {
    repository: Arc<dyn Upkeep>,
    storage: Arc<dyn Storage>,
    options: FsckOptions,
}

/// A check under way: what it came to so far, and whom it tells.
struct Run<'a> {
    summary: Summary,
    tell: &'a mut (dyn FnMut(Event) + Send),
}

/// How many files may still be taken out of service.
struct Quarantine {
    left: usize,
    braked: bool,
    allowed: bool,
}

impl Quarantine {
    /// Whether one more file may be taken out of service, or put back into it.
    fn admits(&mut self, damaged: bool) -> bool {
        if !self.allowed || !damaged {
            return self.allowed;
        }
        self.braked |= self.left == 0;
        let admitted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        admitted
    }
}

impl Run<'_> {
    fn found(&mut self, problem: Problem, mended: bool) {
        self.summary.findings += 1;
        self.summary.left += u64::from(!mended);
        (self.tell)(Event::Found(Finding { problem, mended }));
    }
}

impl Fsck {
    /// A check of what `repository` and `storage` hold.
    pub fn new(
        repository: Arc<dyn Upkeep>,
        storage: Arc<dyn Storage>,
        options: FsckOptions,
    ) -> Self {
        Self { repository, storage, options }
    }

    /// Looks at everything once.
    pub async fn run(&self, tell: &mut (dyn FnMut(Event) + Send)) -> Result<Summary> {
        let mut run = Run { summary: Summary::default(), tell };
        let ours = self.check_owner(&mut run).await?;
        self.check_files(&mut run, ours).await?;
        self.check_stale_records(&mut run, ours).await?;
        self.check_strays(&mut run, ours).await?;
        self.check_usage(&mut run).await?;
        Ok(run.summary)
    }

    /// Whether the storage bears this database's mark.
    async fn check_owner(&self, run: &mut Run<'_>) -> Result<bool> {
        let own = self.repository.identity().await?;
        match self.storage.owner().await? {
            Some(owner) if owner == own => Ok(true),
            Some(owner) => {
                run.found(Problem::ForeignStorage { owner }, false);
                Ok(false)
            }
            None => {
                run.found(Problem::UnmarkedStorage, false);
                Ok(false)
            }
        }
    }

    async fn check_files(&self, run: &mut Run<'_>, ours: bool) -> Result<()> {
        let mut quarantine = Quarantine {
            // Where so much is missing at once, it is more likely that the storage is the wrong one.
            left: self.options.brake.most(self.repository.totals().await?.file_count as usize),
            braked: false,
            allowed: self.options.repair && ours,
        };
        let mut after = None;
        loop {
            let page = self.repository.walk(after.as_ref(), BATCH).await?;
            let Some(last) = page.last() else {
                if quarantine.braked {
                    run.found(Problem::QuarantineBraked, false);
                }
                return Ok(());
            };
            after = Some(last.file.id);
            for record in &page {
                self.check_file(record, run, &mut quarantine).await?;
                run.summary.files += 1;
                run.summary.bytes += record.file.content.size_bytes;
                (run.tell)(Event::Looked(record.file.content.size_bytes));
            }
        }
    }

    async fn check_file(
        &self,
        record: &FileRecord,
        run: &mut Run<'_>,
        quarantine: &mut Quarantine,
    ) -> Result<()> {
        let storage = self.storage.as_ref();
        let verdict = match self.options.content {
            true => verify_content(storage, record, async |_| {}).await,
            false => verify_size(storage, record).await,
        };
        let verdict = match verdict {
            // One blob that cannot be read says nothing of the others.
            Err(UpkeepError::Storage(error @ StorageError::Unavailable { .. })) => {
                let error = crate::error::chain(&error).to_string();
                let blob_key = record.blob_key;
                run.found(Problem::Unreadable { file_id: record.file.id, blob_key, error }, false);
                return Ok(());
            }
            verdict => verdict?,
        };
        match (verdict, record.quarantined) {
            (Verdict::Whole, false) => return Ok(()),
            // Of the right size it may still hold other bytes.
            (Verdict::Whole, true) if !self.options.content => return Ok(()),
            _ => {}
        }
        // Deleted for good while it was looked at, it is nobody's loss.
        if self.repository.find(&record.file.id).await?.is_none() {
            return Ok(());
        }
        let damaged = verdict != Verdict::Whole;
        let noted = damaged == record.quarantined || quarantine.admits(damaged);
        if noted {
            note_verdict(self.repository.as_ref(), record, verdict).await?;
        }
        run.found(Problem::of_verdict(record, verdict), noted);
        Ok(())
    }

    /// Uploads given up, and files deleted or expired, whose bytes are still to be removed.
    async fn check_stale_records(&self, run: &mut Run<'_>, ours: bool) -> Result<()> {
        let stale = self.repository.list_orphans(STALE_NAMED_MAX).await?;
        let mut mended = false;
        if self.options.repair && ours && !stale.is_empty() {
            let (repository, storage) = (Arc::clone(&self.repository), Arc::clone(&self.storage));
            mended = Sweeper::new(repository, storage).pass().await?.failed == 0;
        }
        for orphan in stale {
            let (file_id, blob_key) = (orphan.file_id, orphan.blob_key);
            run.found(Problem::StaleRecord { file_id, blob_key }, mended);
        }
        Ok(())
    }

    async fn check_strays(&self, run: &mut Run<'_>, ours: bool) -> Result<()> {
        let found = find_strays(self.repository.as_ref(), self.storage.as_ref()).await?;
        run.summary.blobs = found.blobs as u64;
        // A young one may be another program's doing, and be gone or known soon.
        let strays: Vec<BlobEntry> = found.old().copied().collect();
        let passes = self.options.brake.lets_pass(strays.len(), found.blobs);
        let remove = self.options.repair && ours && passes;
        if self.options.repair && !passes {
            let (strays, blobs) = (strays.len(), found.blobs);
            run.found(Problem::Braked { strays, blobs }, false);
        }
        for stray in strays {
            if remove {
                self.storage.delete(&stray.key).await?;
            }
            run.found(Problem::Stray(stray), remove);
        }
        Ok(())
    }

    async fn check_usage(&self, run: &mut Run<'_>) -> Result<()> {
        for user_id in self.repository.check_usage(self.options.repair).await? {
            run.found(Problem::WrongUsage { user_id }, self.options.repair);
        }
        Ok(())
    }
}
