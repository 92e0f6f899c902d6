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
    clock::Timestamp,
    file::{
        Content,
        id::FileId,
        reference::Reference,
        usage::{Quota, Usage},
        user::UserId,
    },
    metadata::{
        Association, Deletion, Detached, FileRecord, FileRepository, FileUpdate, Grace, Intended,
        Intent, ListQuery, MetadataError, Orphan, Progress, Upkeep, UploadStatus, UploadTicket,
    },
    storage::{Blob, BlobEntry, BlobWriter, ByteRange, Checkpoint, Storage, StorageError},
};
use uuid::Uuid;

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

    async fn resume(
        &self,
        key: &BlobKey,
        at: &Checkpoint,
    ) -> Result<Box<dyn BlobWriter>, StorageError> {
        let inner = self.plan.run("resume", self.inner.resume(key, at), storage_error).await?;
        Ok(Box::new(FailingWriter { inner, plan: Arc::clone(&self.plan) }))
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob, StorageError> {
        self.inner.open(key, range).await
    }

    async fn size(&self, key: &BlobKey) -> Result<u64, StorageError> {
        self.inner.size(key).await
    }

    async fn list_unfinished(
        &self,
        after: Option<&BlobKey>,
    ) -> Result<Vec<BlobEntry>, StorageError> {
        self.inner.list_unfinished(after).await
    }

    async fn owner(&self) -> Result<Option<Uuid>, StorageError> {
        self.inner.owner().await
    }

    async fn mark(&self, owner: Uuid) -> Result<Uuid, StorageError> {
        self.inner.mark(owner).await
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

    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>, StorageError> {
        self.plan.run("checkpoint", self.inner.checkpoint(), storage_error).await
    }

    fn checkpoint_grain(&self) -> Option<u64> {
        self.inner.checkpoint_grain()
    }

    async fn suspend(self: Box<Self>) -> Result<Option<Checkpoint>, StorageError> {
        self.plan.run("suspend", self.inner.suspend(), storage_error).await
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
    pub inner: Arc<dyn Upkeep>,
    pub plan: Arc<Plan>,
}

type Metadata<T> = Result<T, MetadataError>;

#[async_trait]
impl FileRepository for FailingRepository {
    async fn intend(&self, intent: Intent) -> Metadata<Intended> {
        self.plan.run("intend", self.inner.intend(intent), metadata_error).await
    }

    async fn reserve(&self, ticket: &UploadTicket, bytes: u64, quota: Quota) -> Metadata<u64> {
        self.plan.run("reserve", self.inner.reserve(ticket, bytes, quota), metadata_error).await
    }

    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Metadata<()> {
        self.plan.run("renew", self.inner.renew(ticket, lease), metadata_error).await
    }

    async fn save(&self, ticket: &UploadTicket, saved: Progress, lease: Duration) -> Metadata<()> {
        self.plan.run("save", self.inner.save(ticket, saved, lease), metadata_error).await
    }

    async fn seal(&self, ticket: &UploadTicket, content: Content) -> Metadata<()> {
        self.plan.run("seal", self.inner.seal(ticket, content), metadata_error).await
    }

    async fn holds(&self, ticket: &UploadTicket) -> Metadata<bool> {
        self.inner.holds(ticket).await
    }

    async fn find_upload(&self, user_id: &UserId, id: &Uuid) -> Metadata<Option<UploadStatus>> {
        self.inner.find_upload(user_id, id).await
    }

    async fn cancel(&self, user_id: &UserId, id: &Uuid) -> Metadata<Option<Orphan>> {
        self.plan.run("cancel", self.inner.cancel(user_id, id), metadata_error).await
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

    async fn update(&self, id: &FileId, update: FileUpdate) -> Metadata<Option<FileRecord>> {
        self.plan.run("update", self.inner.update(id, update), metadata_error).await
    }

    async fn delete(&self, id: &FileId, deletion: Deletion) -> Metadata<Option<FileRecord>> {
        self.plan.run("retire", self.inner.delete(id, deletion), metadata_error).await
    }

    async fn undelete(&self, id: &FileId) -> Metadata<Option<FileRecord>> {
        self.plan.run("undelete", self.inner.undelete(id), metadata_error).await
    }

    async fn attach(&self, association: Association) -> Metadata<()> {
        self.plan.run("attach", self.inner.attach(association), metadata_error).await
    }

    async fn detach(&self, association: Association, grace: Arc<Grace>) -> Metadata<Detached> {
        self.plan.run("detach", self.inner.detach(association, grace), metadata_error).await
    }

    async fn delete_reference(
        &self,
        owner: Option<&UserId>,
        reference: &Reference,
        grace: Arc<Grace>,
        limit: usize,
    ) -> Metadata<Detached> {
        let deleted = self.inner.delete_reference(owner, reference, grace, limit);
        self.plan.run("delete_reference", deleted, metadata_error).await
    }

    async fn usage(&self, user_id: &UserId) -> Metadata<Usage> {
        self.inner.usage(user_id).await
    }

    async fn check(&self) -> Metadata<()> {
        self.inner.check().await
    }
}

#[async_trait]
impl Upkeep for FailingRepository {
    async fn identity(&self) -> Metadata<Uuid> {
        self.inner.identity().await
    }

    async fn claim_orphans(&self, limit: usize, lease: Duration) -> Metadata<Vec<Orphan>> {
        self.plan.run("claim", self.inner.claim_orphans(limit, lease), metadata_error).await
    }

    async fn list_orphans(&self, limit: usize) -> Metadata<Vec<Orphan>> {
        self.inner.list_orphans(limit).await
    }

    async fn forget(&self, file_id: &FileId) -> Metadata<()> {
        self.plan.run("forget", self.inner.forget(file_id), metadata_error).await
    }

    async fn unrecorded(&self, keys: &[BlobKey]) -> Metadata<Vec<BlobKey>> {
        self.inner.unrecorded(keys).await
    }

    async fn walk(&self, after: Option<&FileId>, limit: usize) -> Metadata<Vec<FileRecord>> {
        self.inner.walk(after, limit).await
    }

    async fn quarantine(&self, file_id: &FileId, damaged: bool) -> Metadata<()> {
        self.plan.run("quarantine", self.inner.quarantine(file_id, damaged), metadata_error).await
    }

    async fn claim_unverified(
        &self,
        before: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Metadata<Vec<FileRecord>> {
        self.inner.claim_unverified(before, lease, limit).await
    }

    async fn note_verified(&self, file_id: &FileId) -> Metadata<()> {
        self.inner.note_verified(file_id).await
    }

    async fn totals(&self) -> Metadata<Usage> {
        self.inner.totals().await
    }

    async fn check_usage(&self, repair: bool) -> Metadata<Vec<UserId>> {
        self.inner.check_usage(repair).await
    }
}
