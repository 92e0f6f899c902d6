//! Keeps the records of hot files at hand, so that a look-up asks no database, and forgets them exactly:
//! from the answer to a change on, nobody sees what was before it.
//!
//! Right only where every change goes through this one instance: a process that shares its database with
//! others must not use it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use quick_cache::sync::Cache;
use tokio_util::sync::CancellationToken;

use super::{
    FileRecord, FileRepository, Intended, Intent, ListQuery, MetadataError, Orphan, Result,
    UploadTicket,
};
use crate::file::{Content, id::FileId};

/// Files whose changes are counted together; more of them only make needless look-ups rarer.
const STRIPES: usize = 1024;

/// A repository with its hot records at hand.
#[derive(Debug)]
pub struct CachedRepository {
    inner: Arc<dyn FileRepository>,
    records: Cache<FileId, Entry>,
    changes: Arc<Changes>,
}

#[derive(Clone, Debug)]
struct Entry {
    record: Arc<FileRecord>,
    /// The count of changes when the look-up began: the entry is good for as long as it stands.
    seen: u64,
}

/// Counts changes by stripes of file ids.
#[derive(Debug)]
struct Changes {
    hasher: RandomState,
    counts: Vec<AtomicU64>,
}

impl Changes {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            counts: (0..STRIPES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn stripe(&self, file_id: &FileId) -> Option<&AtomicU64> {
        self.counts.get(self.hasher.hash_one(file_id) as usize % STRIPES)
    }

    fn count(&self, file_id: &FileId) -> u64 {
        self.stripe(file_id).map_or(0, |count| count.load(Ordering::Acquire))
    }

    fn note(&self, file_id: &FileId) {
        if let Some(count) = self.stripe(file_id) {
            count.fetch_add(1, Ordering::AcqRel);
        }
    }
}

impl CachedRepository {
    /// Keeps up to `records_max` records of `inner` at hand.
    pub fn new(inner: Arc<dyn FileRepository>, records_max: usize) -> Self {
        Self { inner, records: Cache::new(records_max), changes: Arc::new(Changes::new()) }
    }

    /// Makes a change and notes it, even where the caller goes away in between: the change may still happen.
    async fn change<T, F>(
        &self,
        file_id: FileId,
        change: impl FnOnce(Arc<dyn FileRepository>) -> F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let changes = Arc::clone(&self.changes);
        let change = change(Arc::clone(&self.inner));
        let noted = tokio::spawn(async move {
            let changed = change.await;
            changes.note(&file_id);
            changed
        });
        noted.await.map_err(|error| MetadataError::Unavailable(error.into()))?
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl FileRepository for CachedRepository {
    async fn intend(&self, intent: Intent) -> Result<Intended> {
        self.inner.intend(intent).await
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

    async fn find(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>> {
        // Counted before the look-up: a change during it makes the entry stale from the start.
        let seen = self.changes.count(file_id);
        if let Some(entry) = self.records.get(file_id).filter(|entry| entry.seen == seen) {
            return Ok(Some(entry.record));
        }
        let found = self.inner.find(file_id).await?;
        if let Some(record) = &found {
            let record = Arc::clone(record);
            self.records.insert(*file_id, Entry { record, seen });
        }
        Ok(found)
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<FileRecord>> {
        self.inner.list(query).await
    }

    async fn raise_link_epoch(&self, file_id: &FileId) -> Result<Option<FileRecord>> {
        let id = *file_id;
        self.change(id, |inner| async move { inner.raise_link_epoch(&id).await }).await
    }

    async fn retire(&self, file_id: &FileId, etag: Option<&str>) -> Result<Option<FileRecord>> {
        let (id, etag) = (*file_id, etag.map(str::to_owned));
        self.change(id, |inner| async move { inner.retire(&id, etag.as_deref()).await }).await
    }

    async fn claim_orphans(&self, limit: usize) -> Result<Vec<Orphan>> {
        let claimed = self.inner.claim_orphans(limit).await;
        for orphan in claimed.iter().flatten() {
            self.records.remove(&orphan.file_id);
        }
        claimed
    }

    async fn forget(&self, file_id: &FileId) -> Result<()> {
        self.records.remove(file_id);
        self.inner.forget(file_id).await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    fn failed(&self) -> CancellationToken {
        self.inner.failed()
    }
}
