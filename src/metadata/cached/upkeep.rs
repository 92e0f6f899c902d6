//! What the sweeper and fsck ask for, noted like every other change.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::{CachedRepository, FileRecord, Result, Upkeep, nothing_else};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{id::FileId, usage::Usage, user::UserId},
    metadata::Orphan,
};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Upkeep for CachedRepository {
    async fn identity(&self) -> Result<Uuid> {
        self.inner.identity().await
    }

    async fn claim_orphans(&self, limit: usize, lease: Duration) -> Result<Vec<Orphan>> {
        let change = |it: Arc<dyn Upkeep>| async move { it.claim_orphans(limit, lease).await };
        let claimed = |orphans: &Vec<Orphan>| orphans.iter().map(|orphan| orphan.file_id).collect();
        self.change(Vec::new(), change, claimed).await
    }

    async fn list_orphans(&self, limit: usize) -> Result<Vec<Orphan>> {
        self.inner.list_orphans(limit).await
    }

    async fn forget(&self, file_id: &FileId) -> Result<()> {
        // Forgotten by everybody since it was claimed.
        self.records.remove(file_id);
        self.inner.forget(file_id).await
    }

    async fn unrecorded(&self, keys: &[BlobKey]) -> Result<Vec<BlobKey>> {
        self.inner.unrecorded(keys).await
    }

    async fn walk(&self, after: Option<&FileId>, limit: usize) -> Result<Vec<FileRecord>> {
        self.inner.walk(after, limit).await
    }

    async fn quarantine(&self, file_id: &FileId, damaged: bool) -> Result<()> {
        let id = *file_id;
        self.change(vec![id], |it| async move { it.quarantine(&id, damaged).await }, nothing_else)
            .await
    }

    async fn claim_unverified(
        &self,
        before: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<FileRecord>> {
        self.inner.claim_unverified(before, lease, limit).await
    }

    async fn note_verified(&self, file_id: &FileId) -> Result<()> {
        self.inner.note_verified(file_id).await
    }

    async fn totals(&self) -> Result<Usage> {
        self.inner.totals().await
    }

    async fn check_usage(&self, repair: bool) -> Result<Vec<UserId>> {
        self.inner.check_usage(repair).await
    }
}
