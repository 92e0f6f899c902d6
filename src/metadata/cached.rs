//! Keeps the records of hot files at hand, so that a look-up asks no database, and forgets them exactly: from
//! the answer to a change on, nobody who shares the [`Changes`] sees what was before it.
//!
//! Processes that share nothing but the database see it no later than the age that a record may have here.

mod changes;
mod upkeep;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use quick_cache::{Weighter, sync::Cache};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Association, Deletion, Detached, FileRecord, FileRepository, FileUpdate, Grace, Intended,
    Intent, ListQuery, MetadataError, Orphan, Progress, Result, Upkeep, UploadStatus, UploadTicket,
};
use crate::{
    clock::{Clock, Timestamp},
    file::{
        Content,
        id::FileId,
        reference::Reference,
        usage::{Quota, Usage},
        user::UserId,
    },
};
pub use changes::Changes;

/// A repository with its hot records at hand.
#[derive(Debug)]
pub struct CachedRepository {
    inner: Arc<dyn Upkeep>,
    records: Cache<FileId, Entry, ByBytes>,
    changes: Arc<Changes>,
    clock: Arc<dyn Clock>,
    age_max: Duration,
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    /// Most records of usual size; of large ones fewer.
    pub records_max: usize,
    /// Longest that a record may serve: how late a change shows that nobody could tell of.
    pub age_max: Duration,
}

#[derive(Clone, Debug)]
struct Entry {
    record: Arc<FileRecord>,
    /// The stamp of changes when the look-up began: the entry is good for as long as it stands.
    seen: u64,
    /// When the look-up began.
    read_at: Timestamp,
}

/// What a record takes in memory, as a rule.
const RECORD_BYTES_TYPICAL: u64 = 1024;

/// Weighs records by what their owners can make large.
#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<FileId, Entry> for ByBytes {
    fn weight(&self, _: &FileId, entry: &Entry) -> u64 {
        RECORD_BYTES_TYPICAL + entry.record.file.variable_bytes() as u64
    }
}

impl CachedRepository {
    /// Keeps records of `inner` at hand; `changes` is shared with whoever else changes them.
    pub fn new(
        inner: Arc<dyn Upkeep>,
        changes: Changes,
        clock: Arc<dyn Clock>,
        limits: CacheLimits,
    ) -> Self {
        let records = limits.records_max;
        let bytes_max = records as u64 * RECORD_BYTES_TYPICAL;
        Self {
            inner,
            records: Cache::with_weighter(records, bytes_max, ByBytes),
            changes: Arc::new(changes),
            clock,
            age_max: limits.age_max,
        }
    }

    /// Makes a change and notes the files that it touched, even where the caller goes away in between: the
    /// change may still happen. `named` are noted in any case.
    async fn change<T, F>(
        &self,
        named: Vec<FileId>,
        change: impl FnOnce(Arc<dyn Upkeep>) -> F,
        touched: fn(&T) -> Vec<FileId>,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let changes = Arc::clone(&self.changes);
        let change = change(Arc::clone(&self.inner));
        let noted = tokio::spawn(async move {
            let changed = change.await;
            let touched = changed.as_ref().map(touched).unwrap_or_default();
            named.iter().chain(&touched).for_each(|file_id| changes.note(file_id));
            changed
        });
        noted.await.map_err(|error| MetadataError::Unavailable(error.into()))?
    }
}

/// Of a change whose files are named beforehand.
const fn nothing_else<T>(_: &T) -> Vec<FileId> {
    Vec::new()
}

fn untied(detached: &Detached) -> Vec<FileId> {
    detached.untied().copied().collect()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl FileRepository for CachedRepository {
    async fn intend(&self, intent: Intent) -> Result<Intended> {
        self.inner.intend(intent).await
    }

    async fn reserve(&self, ticket: &UploadTicket, needed_bytes: u64, quota: Quota) -> Result<u64> {
        self.inner.reserve(ticket, needed_bytes, quota).await
    }

    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Result<()> {
        self.inner.renew(ticket, lease).await
    }

    async fn publish(&self, ticket: &UploadTicket, content: Content) -> Result<FileRecord> {
        self.inner.publish(ticket, content).await
    }

    async fn abandon(&self, ticket: &UploadTicket) -> Result<bool> {
        self.inner.abandon(ticket).await
    }

    async fn save(&self, ticket: &UploadTicket, progress: Progress, lease: Duration) -> Result<()> {
        self.inner.save(ticket, progress, lease).await
    }

    async fn seal(&self, ticket: &UploadTicket, content: Content) -> Result<()> {
        self.inner.seal(ticket, content).await
    }

    async fn holds(&self, ticket: &UploadTicket) -> Result<bool> {
        self.inner.holds(ticket).await
    }

    async fn find_upload(
        &self,
        user_id: &UserId,
        upload_id: &Uuid,
    ) -> Result<Option<UploadStatus>> {
        self.inner.find_upload(user_id, upload_id).await
    }

    async fn cancel(&self, user_id: &UserId, upload_id: &Uuid) -> Result<Option<Orphan>> {
        self.inner.cancel(user_id, upload_id).await
    }

    async fn find(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>> {
        // Both before the look-up: a change during it makes the entry stale from the start.
        let (seen, now) = (self.changes.stamp(file_id), self.clock.now());
        let fresh = |entry: &Entry| {
            Some(entry.seen) == seen
                && entry.read_at <= now
                && now < entry.read_at.plus(self.age_max)
        };
        if let Some(entry) = self.records.get(file_id).filter(fresh) {
            return Ok(Some(entry.record));
        }
        let found = self.inner.find(file_id).await?;
        if let (Some(record), Some(seen)) = (&found, seen) {
            let record = Arc::clone(record);
            self.records.insert(*file_id, Entry { record, seen, read_at: now });
        }
        Ok(found)
    }

    async fn find_now(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>> {
        self.records.remove(file_id);
        self.inner.find_now(file_id).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<FileRecord>> {
        self.inner.list(query).await
    }

    async fn update(&self, file_id: &FileId, update: FileUpdate) -> Result<Option<FileRecord>> {
        let id = *file_id;
        self.change(vec![id], |it| async move { it.update(&id, update).await }, nothing_else).await
    }

    async fn delete(&self, file_id: &FileId, deletion: Deletion) -> Result<Option<FileRecord>> {
        let id = *file_id;
        self.change(vec![id], |it| async move { it.delete(&id, deletion).await }, nothing_else)
            .await
    }

    async fn undelete(&self, file_id: &FileId) -> Result<Option<FileRecord>> {
        let id = *file_id;
        self.change(vec![id], |it| async move { it.undelete(&id).await }, nothing_else).await
    }

    async fn attach(&self, association: Association) -> Result<()> {
        let named = association.file_ids.clone();
        self.change(named, |it| async move { it.attach(association).await }, nothing_else).await
    }

    async fn detach(&self, association: Association, grace: Arc<Grace>) -> Result<Detached> {
        let named = association.file_ids.clone();
        self.change(named, |it| async move { it.detach(association, grace).await }, nothing_else)
            .await
    }

    async fn delete_reference(
        &self,
        owner: Option<&UserId>,
        reference: &Reference,
        grace: Arc<Grace>,
        limit: usize,
    ) -> Result<Detached> {
        let (owner, reference) = (owner.cloned(), reference.clone());
        let change = |it: Arc<dyn Upkeep>| async move {
            it.delete_reference(owner.as_ref(), &reference, grace, limit).await
        };
        self.change(Vec::new(), change, untied).await
    }

    async fn usage(&self, user_id: &UserId) -> Result<Usage> {
        self.inner.usage(user_id).await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    fn failed(&self) -> CancellationToken {
        self.inner.failed()
    }
}
