//! Stores whose n-th effect fails: before it took place, or after, when the caller cannot know.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use files::{
    blob::BlobKey,
    file::{Content, id::FileId},
    metadata::{
        FileRecord, FileRepository, Intended, Intent, ListQuery, MetadataError, Orphan,
        UploadTicket,
    },
    storage::{Blob, BlobEntry, BlobWriter, ByteRange, Storage, StorageError},
};

/// When the chosen effect fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing has happened.
    Before,
    /// It has happened, and the answer is lost.
    After,
}

/// Counts effects and fails one of them, and with it everything that follows, until it is repaired.
#[derive(Debug)]
pub struct Plan {
    fail_at: usize,
    moment: Moment,
    lasting: bool,
    count: AtomicUsize,
    failed: Mutex<Option<&'static str>>,
}

impl Plan {
    /// Fails the effect number `fail_at`; a `lasting` fault goes on until [`Plan::repair`].
    pub fn new(fail_at: usize, moment: Moment, lasting: bool) -> Arc<Self> {
        let count = AtomicUsize::new(0);
        Arc::new(Self { fail_at, moment, lasting, count, failed: Mutex::new(None) })
    }

    /// The effect that failed, if the plan came to it.
    pub fn failed(&self) -> Option<&'static str> {
        *self.failed.lock().expect("the plan")
    }

    /// From now on nothing fails.
    pub fn repair(&self) {
        self.count.store(usize::MAX / 2, Ordering::SeqCst);
    }

    async fn run<T, E>(
        &self,
        name: &'static str,
        effect: impl Future<Output = Result<T, E>>,
        error: impl Fn() -> E,
    ) -> Result<T, E> {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let broken = self.lasting && number > self.fail_at && number < usize::MAX / 2;
        if number != self.fail_at && !broken {
            return effect.await;
        }
        self.failed.lock().expect("the plan").get_or_insert(name);
        if self.moment == Moment::After && number == self.fail_at {
            effect.await?;
        }
        Err(error())
    }
}

fn storage_error() -> StorageError {
    StorageError::Unavailable { action: "act", source: "injected".into() }
}

fn metadata_error() -> MetadataError {
    MetadataError::Unavailable("injected".into())
}

/// A storage that fails by plan.
#[derive(Debug)]
pub struct FailingStorage {
    pub inner: Arc<dyn Storage>,
    pub plan: Arc<Plan>,
}

#[async_trait]
impl Storage for FailingStorage {
    async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>, StorageError> {
        let inner = self.plan.run("create", self.inner.create(key), storage_error).await?;
        Ok(Box::new(FailingWriter { inner, plan: Arc::clone(&self.plan) }))
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob, StorageError> {
        self.inner.open(key, range).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), StorageError> {
        self.plan.run("delete", self.inner.delete(key), storage_error).await
    }

    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>, StorageError> {
        self.inner.list(after).await
    }

    async fn check(&self) -> Result<(), StorageError> {
        self.inner.check().await
    }
}

struct FailingWriter {
    inner: Box<dyn BlobWriter>,
    plan: Arc<Plan>,
}

#[async_trait]
impl BlobWriter for FailingWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<(), StorageError> {
        self.plan.run("write", self.inner.write(chunks), storage_error).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StorageError> {
        self.plan.run("commit", self.inner.commit(), storage_error).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StorageError> {
        self.plan.run("abort", self.inner.abort(), storage_error).await
    }
}

/// A repository that fails by plan.
#[derive(Debug)]
pub struct FailingRepository {
    pub inner: Arc<dyn FileRepository>,
    pub plan: Arc<Plan>,
}

type Metadata<T> = Result<T, MetadataError>;

#[async_trait]
impl FileRepository for FailingRepository {
    async fn intend(&self, intent: Intent) -> Metadata<Intended> {
        self.plan.run("intend", self.inner.intend(intent), metadata_error).await
    }

    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Metadata<()> {
        self.plan.run("renew", self.inner.renew(ticket, lease), metadata_error).await
    }

    async fn publish(&self, ticket: &UploadTicket, content: Content) -> Metadata<FileRecord> {
        self.plan.run("publish", self.inner.publish(ticket, content), metadata_error).await
    }

    async fn abandon(&self, ticket: &UploadTicket) -> Metadata<bool> {
        self.plan.run("abandon", self.inner.abandon(ticket), metadata_error).await
    }

    async fn find(&self, file_id: &FileId) -> Metadata<Option<Arc<FileRecord>>> {
        self.inner.find(file_id).await
    }

    async fn list(&self, query: &ListQuery) -> Metadata<Vec<FileRecord>> {
        self.inner.list(query).await
    }

    async fn raise_link_epoch(&self, file_id: &FileId) -> Metadata<Option<FileRecord>> {
        self.plan.run("revoke", self.inner.raise_link_epoch(file_id), metadata_error).await
    }

    async fn retire(&self, file_id: &FileId, etag: Option<&str>) -> Metadata<Option<FileRecord>> {
        self.plan.run("retire", self.inner.retire(file_id, etag), metadata_error).await
    }

    async fn claim_orphans(&self, limit: usize) -> Metadata<Vec<Orphan>> {
        self.plan.run("claim", self.inner.claim_orphans(limit), metadata_error).await
    }

    async fn forget(&self, file_id: &FileId) -> Metadata<()> {
        self.plan.run("forget", self.inner.forget(file_id), metadata_error).await
    }

    async fn check(&self) -> Metadata<()> {
        self.inner.check().await
    }
}
