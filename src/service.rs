//! Use cases: each fixes the order of its effects. Knows neither gRPC nor HTTP, and no backend.

pub mod download;
mod error;
pub mod links;
pub mod metadata;
pub mod policy;
pub mod references;
pub mod upload;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::{Clock, Timestamp},
    error::chain,
    file::{id::FileId, user::UserId},
    metadata::{Orphan, Upkeep},
    signing::UrlSigner,
    storage::Storage,
};

pub use crate::metadata::FileRecord;
pub use error::{Result, ServiceError};
use policy::Policy;
use upload::running::RunningUploads;

/// What the service works with.
#[derive(Clone, Debug)]
pub struct Dependencies {
    /// Where records are kept.
    pub repository: Arc<dyn Upkeep>,
    /// Where bytes rest.
    pub storage: Arc<dyn Storage>,
    /// What signs links.
    pub signer: Arc<UrlSigner>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
}

/// The use cases over one set of dependencies and one policy.
#[derive(Debug)]
pub struct FileService {
    repository: Arc<dyn Upkeep>,
    storage: Arc<dyn Storage>,
    signer: Arc<UrlSigner>,
    clock: Arc<dyn Clock>,
    policy: Policy,
    /// One permit for each upload that may run at once.
    upload_slots: Arc<Semaphore>,
    /// One permit for each byte of content that may be on its way from a caller to storage.
    upload_bytes: Arc<Semaphore>,
    uploads: TaskTracker,
    /// Those among them that another call can go on with.
    running: RunningUploads,
    /// Cancelled when running uploads are to be cut off.
    cut: CancellationToken,
    draining: AtomicBool,
}

impl FileService {
    /// A service with nothing under way.
    pub fn new(dependencies: Dependencies, policy: Policy) -> Self {
        let limits = policy.uploads;
        Self {
            repository: dependencies.repository,
            storage: dependencies.storage,
            signer: dependencies.signer,
            clock: dependencies.clock,
            policy,
            upload_slots: Arc::new(Semaphore::new(limits.concurrent_max)),
            upload_bytes: Arc::new(Semaphore::new(limits.buffer_permits())),
            uploads: TaskTracker::new(),
            running: RunningUploads::default(),
            cut: CancellationToken::new(),
            draining: AtomicBool::new(false),
        }
    }

    /// What this deployment accepts.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What time it is here.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// From now on the service calls itself not ready; calls under way go on.
    pub fn begin_shutdown(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Cuts off every upload that is under way; each cleans up after itself.
    pub fn cut_uploads(&self) {
        self.cut.cancel();
    }

    /// Returns once no upload is under way.
    pub async fn uploads_ended(&self) {
        self.uploads.close();
        self.uploads.wait().await;
    }

    /// Whether records and bytes can be reached: what a readiness probe asks.
    pub async fn check(&self) -> Result<()> {
        if self.draining.load(Ordering::Acquire) {
            return Err(ServiceError::ShuttingDown);
        }
        self.repository.check().await?;
        self.storage.check().await?;
        Ok(())
    }

    /// The file that `owner` may see under this id. Without an owner, the caller is trusted to act for
    /// every user, and the id alone decides.
    pub async fn get(&self, file_id: &FileId, owner: Option<&UserId>) -> Result<Arc<FileRecord>> {
        self.find(file_id, owner, FileRecord::is_visible).await
    }

    /// The same, a soft-deleted file for as long as it can be undeleted among them.
    pub async fn get_even_deleted(
        &self,
        file_id: &FileId,
        owner: Option<&UserId>,
    ) -> Result<Arc<FileRecord>> {
        self.find(file_id, owner, FileRecord::is_kept).await
    }

    async fn find(
        &self,
        file_id: &FileId,
        owner: Option<&UserId>,
        is_shown: fn(&FileRecord, Timestamp) -> bool,
    ) -> Result<Arc<FileRecord>> {
        let found = self.repository.find(file_id).await?;
        found
            .filter(|record| is_shown(record, self.clock.now()))
            .filter(|record| owner.is_none_or(|owner| *owner == record.file.user_id))
            .ok_or(ServiceError::FileNotFound)
    }

    /// Removes bytes that nobody may read any more, then their record: what fails of it, the sweeper finds
    /// by the record and does later.
    async fn discard(&self, orphan: &Orphan) {
        let discarded = async {
            self.storage.delete(&orphan.blob_key).await?;
            self.repository.forget(&orphan.file_id).await?;
            Ok::<(), ServiceError>(())
        };
        if let Err(error) = discarded.await {
            leave_to_sweeper(&orphan.file_id, &error);
        }
    }
}

fn leave_to_sweeper(file_id: &FileId, error: &ServiceError) {
    tracing::warn!(%file_id, error = chain(error), "left to the sweeper");
}
