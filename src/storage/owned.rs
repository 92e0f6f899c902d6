//! A storage that belongs to one database: nothing is ever removed from one that bears another's mark, as
//! when a server is pointed at the wrong place, or a database was made anew beside old blobs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::{
    Blob, BlobEntry, BlobWriter, ByteRange, Checkpoint, PresignedAnswer, Result, Storage,
    StorageError,
};
use crate::blob::BlobKey;

/// Wraps any storage.
#[derive(Debug)]
pub struct OwnedStorage {
    inner: Arc<dyn Storage>,
    owner: Uuid,
    /// Set once the mark was seen to be the owner's.
    ours: OnceCell<()>,
}

impl OwnedStorage {
    /// `inner` on behalf of the database `owner`, whose mark it gets where it bears none.
    pub fn new(inner: Arc<dyn Storage>, owner: Uuid) -> Self {
        Self { inner, owner, ours: OnceCell::new() }
    }

    /// [`StorageError::Foreign`] where the storage bears another mark.
    pub async fn check_owner(&self) -> Result<()> {
        let marked = async {
            match self.inner.mark(self.owner).await? {
                owner if owner == self.owner => Ok(()),
                owner => Err(StorageError::Foreign { owner }),
            }
        };
        self.ours.get_or_try_init(|| marked).await.copied()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for OwnedStorage {
    async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>> {
        self.inner.create(key).await
    }

    async fn resume(&self, key: &BlobKey, at: &Checkpoint) -> Result<Box<dyn BlobWriter>> {
        self.inner.resume(key, at).await
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob> {
        self.inner.open(key, range).await
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        self.inner.size(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        self.check_owner().await?;
        self.inner.delete(key).await
    }

    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        self.inner.list(after).await
    }

    async fn list_unfinished(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        self.inner.list_unfinished(after).await
    }

    async fn discard_unfinished(&self, key: &BlobKey) -> Result<()> {
        self.check_owner().await?;
        self.inner.discard_unfinished(key).await
    }

    async fn owner(&self) -> Result<Option<Uuid>> {
        self.inner.owner().await
    }

    async fn mark(&self, owner: Uuid) -> Result<Uuid> {
        self.inner.mark(owner).await
    }

    async fn presign(
        &self,
        key: &BlobKey,
        answer: &PresignedAnswer,
        life: Duration,
    ) -> Result<Option<Url>> {
        self.inner.presign(key, answer, life).await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    fn failed(&self) -> CancellationToken {
        self.inner.failed()
    }
}
