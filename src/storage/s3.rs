//! Blobs in a bucket of any store that speaks S3. Knows no user, no file and no other backend.
//!
//! ```text
//! PREFIXblobs/KEY     committed blobs; what is not finished, the store keeps as multipart uploads
//! PREFIXowner         the id of the database that the blobs belong to
//! ```
//!
//! A blob becomes an object by one request, PutObject or CompleteMultipartUpload, whole or not at all. Where
//! its outcome is unknown, the object is looked at: it bears a token that no other writer knows.

mod commit;
mod connect;
mod error;
mod headers;
mod list;
mod multipart;
mod notes;
mod options;
mod read;
mod store;
mod write;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_s3::{presigning::PresigningConfig, primitives::ByteStream};
use bytes::Bytes;
use url::Url;
use uuid::Uuid;

use super::{
    Blob, BlobEntry, BlobWriter, ByteRange, Checkpoint, PresignedAnswer, RemoteBytes, Result,
    Storage, StorageError,
};
use crate::{blob::BlobKey, clock::Clock};
use error::{Failure, failure};
use headers::StoreClock;
pub use options::{
    Checksums, Encryption, PART_BYTES_MAX, PART_BYTES_MIN, PARTS_MAX, S3Credentials, S3Options,
};
use read::Reading;
use store::Store;
use write::S3Writer;

/// Beyond this, the store's clock and ours are too far apart for signatures that others check.
const CLOCKS_APART_MAX_S: i64 = 15 * 60;

/// Blobs below one prefix of a bucket.
#[derive(Debug)]
pub struct S3Storage {
    store: Arc<Store>,
}

impl S3Storage {
    /// Connects to the bucket, which must be there, and answers with nothing changed in it. The ages of blobs
    /// are told by the store's clock, as far as it is apart from `clock` now.
    pub async fn connect(options: S3Options, clock: Arc<dyn Clock>) -> Result<Self> {
        let (client, public) = connect::clients(&options).await?;
        let store = Store { client, public, clock: StoreClock::new(clock), options };
        let storage = Self { store: Arc::new(store) };
        storage.check().await?;
        let ahead_s = storage.store.clock.ahead_s();
        if ahead_s.abs() > CLOCKS_APART_MAX_S {
            tracing::warn!(ahead_s, "the store's clock and this machine's are far apart");
        }
        Ok(storage)
    }

    async fn head(&self, key: &BlobKey) -> Result<u64> {
        let bucket = &self.store.options.bucket;
        let client = &self.store.client;
        let head = client.head_object().bucket(bucket).key(self.store.object(key)).send().await;
        match head.map_err(Failure::of) {
            Ok(head) => Ok(head.content_length().unwrap_or(0).unsigned_abs()),
            Err(failed) if failed.is_absence() => {
                // A bucket that is gone says the same of every object in it.
                self.check().await?;
                Err(StorageError::Missing(*key))
            }
            Err(failed) => Err(failed.into_error("look at a blob")),
        }
    }

    async fn read_mark(&self) -> Result<Option<Uuid>> {
        const ACTION: &str = "read the owner's mark";
        let (bucket, client) = (&self.store.options.bucket, &self.store.client);
        let mark = client.get_object().bucket(bucket).key(self.store.mark()).send().await;
        let mark = match mark.map_err(Failure::of) {
            Err(failed) if failed.is_absence() => return Ok(None),
            mark => mark.map_err(|failed| failed.into_error(ACTION))?,
        };
        let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| {
            StorageError::Unavailable { action: ACTION, source }
        };
        let text = mark.body.collect().await.map_err(|error| unreadable(error.into()))?;
        let owner = Uuid::try_parse_ascii(text.into_bytes().trim_ascii());
        owner.map(Some).map_err(|error| unreadable(error.into()))
    }
}

#[async_trait]
impl Storage for S3Storage {
    async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(S3Writer::new(Arc::clone(&self.store), *key)))
    }

    async fn resume(&self, key: &BlobKey, at: &Checkpoint) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(S3Writer::resume(Arc::clone(&self.store), *key, at).await?))
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob> {
        // No header can name an empty range, and none that ends beyond what S3 counts to.
        if range.len == 0 || i64::try_from(range.end()).is_err() {
            range.check_within(self.head(key).await?, key)?;
            return Ok(Blob::Bytes(Bytes::new()));
        }
        let reading = Reading::begin(Arc::clone(&self.store), *key, range).await?;
        Ok(Blob::Remote(RemoteBytes::new(*key, range.len, reading.into_pieces())))
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        self.head(key).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        let object = self.store.object(key);
        // In this order: what is gone can no longer be completed.
        multipart::abort_all(&self.store, &object).await?;
        let (bucket, client) = (&self.store.options.bucket, &self.store.client);
        let deleted = client.delete_object().bucket(bucket).key(object).send().await;
        match deleted.map_err(Failure::of) {
            Err(failed) if failed.is_absence() => Ok(()),
            deleted => deleted.map_err(|failed| failed.into_error("delete a blob")).map(drop),
        }
    }

    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        list::committed(&self.store, after).await
    }

    async fn list_unfinished(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        list::unfinished(&self.store, after).await
    }

    async fn discard_unfinished(&self, key: &BlobKey) -> Result<()> {
        multipart::abort_empty(&self.store, &self.store.object(key)).await
    }

    async fn owner(&self) -> Result<Option<Uuid>> {
        self.read_mark().await
    }

    async fn mark(&self, owner: Uuid) -> Result<Uuid> {
        const ACTION: &str = "write the owner's mark";
        if let Some(owner) = self.read_mark().await? {
            return Ok(owner);
        }
        for condition in [Some("*"), None] {
            let body = ByteStream::from(owner.to_string().into_bytes());
            let put = self.store.put(self.store.mark()).body(body);
            let put = put.set_if_none_match(condition.map(str::to_owned)).send().await;
            match put.map_err(Failure::of) {
                // Somebody was faster, or the store will not hear of conditions.
                Err(failed) if failed.is_about_condition() => {}
                put => drop(put.map_err(|failed| failed.into_error(ACTION))?),
            }
            if let Some(owner) = self.read_mark().await? {
                return Ok(owner);
            }
        }
        let failed =
            Failure::unbelievable("the store said that the mark was written, and has none");
        Err(failed.into_error(ACTION))
    }

    async fn presign(
        &self,
        key: &BlobKey,
        answer: &PresignedAnswer,
        life: Duration,
    ) -> Result<Option<Url>> {
        const ACTION: &str = "presign a URL";
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StorageError::Unavailable {
            action: ACTION,
            source,
        };
        let config = PresigningConfig::builder()
            .start_time(self.store.clock.now().into())
            .expires_in(life)
            .build()
            .map_err(|error| failed(error.into()))?;
        let request = self
            .store
            .public
            .get_object()
            .bucket(&self.store.options.bucket)
            .key(self.store.object(key))
            .response_content_type(&answer.content_type)
            .response_content_disposition(&answer.content_disposition)
            .response_cache_control(&answer.cache_control)
            .presigned(config)
            .await
            .map_err(failure(ACTION))?;
        Ok(Some(Url::parse(request.uri()).map_err(|error| failed(error.into()))?))
    }

    async fn check(&self) -> Result<()> {
        // A listing asks for no more rights than working with the prefix does.
        let asked = self
            .store
            .client
            .list_objects_v2()
            .bucket(&self.store.options.bucket)
            .prefix(self.store.mark())
            .max_keys(1)
            .customize()
            .interceptor(self.store.clock.clone())
            .send()
            .await;
        asked.map_err(failure("reach the bucket")).map(drop)
    }
}
