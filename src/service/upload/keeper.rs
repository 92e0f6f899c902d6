//! Keeps account of how much of an upload is durable: enough to go on from there, on whatever replica. What is
//! told to be durable is so before it is told.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{task::JoinHandle, time::Instant};

use crate::{
    metadata::{self, Progress, Upkeep, UploadTicket},
    service::{Result, policy::UploadLimits},
    storage::{BlobWriter, Checkpoint},
    upload::{Upload, UploadState},
};

/// Of a large upload at least this part must have been received since the last account.
const STEP_SHARE: u64 = 16;
/// Slower uploads give account of less, after this time: what a crash can cost is a few seconds of sending.
const STEP_TIME: Duration = Duration::from_secs(5);

/// What it takes to go on with an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    /// What was counted and hashed.
    pub(super) upload: UploadState,
    /// What rests where.
    pub(super) blob: Checkpoint,
}

impl Account {
    /// Reads what was saved; `None` where it does not make sense to this version.
    pub(super) fn read(progress: &Progress) -> Option<Self> {
        let account: Self = serde_json::from_str(&progress.state).ok()?;
        let size_bytes = progress.persisted_size_bytes;
        let agrees =
            account.upload.size_bytes() == size_bytes && account.blob.size_bytes == size_bytes;
        agrees.then_some(account)
    }

    fn write(&self) -> Option<Progress> {
        let persisted_size_bytes = self.blob.size_bytes;
        let state = serde_json::to_string(self).ok()?;
        Some(Progress { persisted_size_bytes, state })
    }
}

/// Keeps the account of one upload.
#[derive(Debug)]
pub(super) struct Keeper {
    repository: Arc<dyn Upkeep>,
    ticket: UploadTicket,
    /// How long the upload lives on after each account.
    lease: Duration,
    /// How much more must have been received until the next account.
    step_bytes: u64,
    saved_bytes: u64,
    /// An account that is on its way to the database: while one is, the upload goes on.
    saving: Option<(u64, JoinHandle<metadata::Result<()>>)>,
    /// Whether there may be an account, for another call to go on from.
    has_account: bool,
    due_bytes: u64,
    due_at: Instant,
}

impl Keeper {
    /// For an upload of which `saved_bytes` are durable.
    pub(super) fn new(
        repository: Arc<dyn Upkeep>,
        ticket: UploadTicket,
        limits: UploadLimits,
        saved_bytes: u64,
    ) -> Self {
        let mut keeper = Self {
            repository,
            ticket,
            lease: limits.unfinished_lease(),
            step_bytes: limits.checkpoint_bytes,
            saved_bytes,
            saving: None,
            has_account: saved_bytes > 0,
            due_bytes: 0,
            due_at: Instant::now(),
        };
        keeper.wait_from(saved_bytes);
        keeper
    }

    /// Whether another call may have something to go on from: what was written is then not this call's alone.
    pub(super) const fn has_account(&self) -> bool {
        self.has_account
    }

    /// Bytes that are known to be durable.
    pub(super) const fn saved_bytes(&self) -> u64 {
        self.saved_bytes
    }

    /// Gives account where it is due.
    pub(super) async fn written(
        &mut self,
        upload: &mut Upload,
        writer: &mut dyn BlobWriter,
    ) -> Result<()> {
        if upload.size_bytes() < self.due_bytes && Instant::now() < self.due_at {
            return Ok(());
        }
        self.wait_from(upload.size_bytes());
        upload.keep_state();
        if let Some(blob) = writer.checkpoint().await? {
            self.settle().await?;
            self.save(upload, blob);
        }
        Ok(())
    }

    /// Ends the writing before the upload's end, and gives account of all that is durable.
    pub(super) async fn leave(
        &mut self,
        mut upload: Upload,
        writer: Box<dyn BlobWriter>,
    ) -> Result<()> {
        upload.keep_state();
        let left = writer.suspend().await;
        self.settle().await?;
        if let Some(blob) = left? {
            self.save(&mut upload, blob);
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits until the account that is on its way is durable.
    pub(super) async fn settle(&mut self) -> Result<()> {
        if let Some((size_bytes, saving)) = self.saving.take() {
            saving.await??;
            self.saved_bytes = size_bytes;
        }
        Ok(())
    }

    fn save(&mut self, upload: &mut Upload, blob: Checkpoint) {
        let size_bytes = blob.size_bytes;
        if size_bytes <= self.saved_bytes {
            return;
        }
        let account = upload.state_at(size_bytes).cloned().map(|upload| Account { upload, blob });
        let Some(progress) = account.and_then(|account| account.write()) else {
            return;
        };
        self.has_account = true;
        let (repository, ticket, lease) = (Arc::clone(&self.repository), self.ticket, self.lease);
        let saving = tokio::spawn(async move { repository.save(&ticket, progress, lease).await });
        self.saving = Some((size_bytes, saving));
    }

    fn wait_from(&mut self, size_bytes: u64) {
        self.due_bytes = size_bytes + self.step_bytes.max(size_bytes / STEP_SHARE);
        self.due_at = Instant::now() + STEP_TIME;
    }
}
