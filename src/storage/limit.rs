//! Any storage within limits: how much is asked of it at once, how long an answer may take, and whether it
//! still takes writes after one has failed. Knows no backend.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::{
    Blob, BlobEntry, BlobWriter, ByteRange, Checkpoint, PresignedAnswer, Result, Storage,
    StorageError,
    probe::{fresh_key, probe_write},
};
use crate::blob::BlobKey;

/// How much, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageLimits {
    /// Most operations at once; further ones wait for their turn, at most `timeout`.
    pub operations_max: usize,
    /// Longest that an operation may take, and that a read may wait for its next bytes.
    pub timeout: Duration,
    /// Longest that committing a blob may take: much of it may still be on its way.
    pub commit_timeout: Duration,
}

/// Wraps any storage.
#[derive(Debug)]
pub struct LimitedStorage {
    inner: Arc<dyn Storage>,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Gate {
    places: Semaphore,
    limits: StorageLimits,
    /// Set by a write that failed, until a write has succeeded again.
    suspect: AtomicBool,
    /// The key of the blob that is then written, by one at a time; made when it is first needed.
    probing: Mutex<Option<BlobKey>>,
}

impl LimitedStorage {
    /// `inner` within `limits`.
    pub fn new(inner: Arc<dyn Storage>, limits: StorageLimits) -> Self {
        let places = Semaphore::new(limits.operations_max.min(Semaphore::MAX_PERMITS));
        let gate =
            Gate { places, limits, suspect: AtomicBool::new(false), probing: Mutex::default() };
        Self { inner, gate: Arc::new(gate) }
    }
}

impl Gate {
    /// Waits for a place, and then for the operation.
    async fn run<T>(
        &self,
        action: &'static str,
        operation: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.run_for(self.limits.timeout, action, operation).await
    }

    async fn run_for<T>(
        &self,
        longest: Duration,
        action: &'static str,
        operation: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let place = timeout(self.limits.timeout, self.places.acquire()).await;
        // They are never closed: nothing but time ends the wait.
        let Ok(Ok(_place)) = place else {
            return Err(late(action, "other operations took all places for", self.limits.timeout));
        };
        within(longest, action, operation).await
    }

    /// Notes whether a write failed for a reason that others would meet, too.
    fn watched<T>(&self, written: Result<T>) -> Result<T> {
        if matches!(written, Err(StorageError::Unavailable { .. })) {
            self.suspect.store(true, Ordering::Release);
        }
        written
    }
}

async fn within<T>(
    longest: Duration,
    action: &'static str,
    operation: impl Future<Output = Result<T>>,
) -> Result<T> {
    let ended = timeout(longest, operation).await;
    ended.unwrap_or_else(|_| Err(late(action, "there was no answer for", longest)))
}

fn late(action: &'static str, what: &str, longest: Duration) -> StorageError {
    let source = format!("{what} {}", humantime::format_duration(longest)).into();
    StorageError::Unavailable { action, source }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for LimitedStorage {
    async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>> {
        let created = self.gate.run("begin a blob", self.inner.create(key)).await;
        let inner = self.gate.watched(created)?;
        Ok(Box::new(LimitedWriter { inner, gate: Arc::clone(&self.gate) }))
    }

    async fn resume(&self, key: &BlobKey, at: &Checkpoint) -> Result<Box<dyn BlobWriter>> {
        let resumed = self.gate.run("go on with a blob", self.inner.resume(key, at)).await;
        let inner = self.gate.watched(resumed)?;
        Ok(Box::new(LimitedWriter { inner, gate: Arc::clone(&self.gate) }))
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob> {
        let blob = self.gate.run("open a blob", self.inner.open(key, range)).await?;
        Ok(match blob {
            Blob::Remote(bytes) => Blob::Remote(bytes.impatient(self.gate.limits.timeout)),
            at_hand => at_hand,
        })
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        self.gate.run("look at a blob", self.inner.size(key)).await
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        self.gate.run("delete a blob", self.inner.delete(key)).await
    }

    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        self.gate.run("list blobs", self.inner.list(after)).await
    }

    async fn list_unfinished(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        self.gate.run("list unfinished blobs", self.inner.list_unfinished(after)).await
    }

    async fn discard_unfinished(&self, key: &BlobKey) -> Result<()> {
        self.gate.run("remove what is left of a blob", self.inner.discard_unfinished(key)).await
    }

    async fn owner(&self) -> Result<Option<Uuid>> {
        self.gate.run("read the owner's mark", self.inner.owner()).await
    }

    async fn mark(&self, owner: Uuid) -> Result<Uuid> {
        self.gate.run("read or write the owner's mark", self.inner.mark(owner)).await
    }

    async fn presign(
        &self,
        key: &BlobKey,
        answer: &PresignedAnswer,
        life: Duration,
    ) -> Result<Option<Url>> {
        self.gate.run("presign a URL", self.inner.presign(key, answer, life)).await
    }

    async fn check(&self) -> Result<()> {
        // It takes no place: a storage that is busy is not one that is down.
        let longest = self.gate.limits.timeout;
        within(longest, "check the storage", self.inner.check()).await?;
        if !self.gate.suspect.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut probing = self.gate.probing.lock().await;
        // Somebody may have found out while this one waited.
        if self.gate.suspect.load(Ordering::Acquire) {
            let key = match *probing {
                Some(key) => key,
                None => *probing.insert(fresh_key()?),
            };
            let written = probe_write(self.inner.as_ref(), &key);
            within(longest, "write after a failure", written).await?;
            self.gate.suspect.store(false, Ordering::Release);
        }
        Ok(())
    }

    fn failed(&self) -> CancellationToken {
        self.inner.failed()
    }
}

struct LimitedWriter {
    inner: Box<dyn BlobWriter>,
    gate: Arc<Gate>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl BlobWriter for LimitedWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let written = self.gate.run("write a blob", self.inner.write(chunks)).await;
        self.gate.watched(written)
    }

    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        let noted = self.gate.run("make a part of a blob durable", self.inner.checkpoint()).await;
        self.gate.watched(noted)
    }

    fn checkpoint_grain(&self) -> Option<u64> {
        self.inner.checkpoint_grain()
    }

    async fn suspend(self: Box<Self>) -> Result<Option<Checkpoint>> {
        let Self { inner, gate } = *self;
        let longest = gate.limits.commit_timeout;
        let suspended = gate.run_for(longest, "leave a blob unfinished", inner.suspend()).await;
        gate.watched(suspended)
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let Self { inner, gate } = *self;
        let longest = gate.limits.commit_timeout;
        let committed = gate.run_for(longest, "commit a blob", inner.commit()).await;
        gate.watched(committed)
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let Self { inner, gate } = *self;
        gate.run("give a blob up", inner.abort()).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU8;

    use super::{super::memory::MemoryStorage, *};
    use crate::clock::SystemClock;

    const WORKS: u8 = 0;
    const HANGS: u8 = 1;
    const REFUSES_WRITES: u8 = 2;

    /// Memory that hangs or refuses writes as it is told.
    #[derive(Debug)]
    struct Moody {
        inner: MemoryStorage,
        mood: AtomicU8,
    }

    impl Moody {
        async fn feel(&self) {
            if self.mood.load(Ordering::SeqCst) == HANGS {
                std::future::pending::<()>().await;
            }
        }
    }

    #[async_trait]
    impl Storage for Moody {
        async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>> {
            self.feel().await;
            if self.mood.load(Ordering::SeqCst) == REFUSES_WRITES {
                let source = "read-only".into();
                return Err(StorageError::Unavailable { action: "begin a blob", source });
            }
            self.inner.create(key).await
        }

        async fn resume(&self, key: &BlobKey, at: &Checkpoint) -> Result<Box<dyn BlobWriter>> {
            self.inner.resume(key, at).await
        }

        async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob> {
            let stream = futures_util::stream::pending();
            self.inner.open(key, range).await?;
            Ok(Blob::Remote(super::super::RemoteBytes::new(*key, range.len, stream)))
        }

        async fn size(&self, key: &BlobKey) -> Result<u64> {
            self.feel().await;
            self.inner.size(key).await
        }

        async fn delete(&self, key: &BlobKey) -> Result<()> {
            self.inner.delete(key).await
        }

        async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
            self.inner.list(after).await
        }

        async fn list_unfinished(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
            self.inner.list_unfinished(after).await
        }

        async fn owner(&self) -> Result<Option<Uuid>> {
            self.inner.owner().await
        }

        async fn mark(&self, owner: Uuid) -> Result<Uuid> {
            self.inner.mark(owner).await
        }

        async fn check(&self) -> Result<()> {
            self.inner.check().await
        }
    }

    fn limited(operations_max: usize) -> (LimitedStorage, Arc<Moody>) {
        let inner = MemoryStorage::new(Arc::new(SystemClock));
        let moody = Arc::new(Moody { inner, mood: AtomicU8::new(WORKS) });
        let limits = StorageLimits {
            operations_max,
            timeout: Duration::from_secs(30),
            commit_timeout: Duration::from_secs(120),
        };
        (LimitedStorage::new(Arc::clone(&moody) as Arc<dyn Storage>, limits), moody)
    }

    fn told(error: StorageError) -> String {
        crate::error::chain(&error)
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_hangs_is_given_up_and_so_is_the_wait_for_its_place() {
        let (storage, moody) = limited(1);
        moody.mood.store(HANGS, Ordering::SeqCst);
        let key = BlobKey::from_bytes([7; 16]);
        let (one, other) = tokio::join!(storage.size(&key), storage.size(&key));
        let one = told(one.expect_err("it hangs"));
        assert!(one.contains("there was no answer for 30s"), "{one}");
        let other = told(other.expect_err("it never got a place, or hangs, too"));
        assert!(other.contains("30s"), "{other}");
        moody.mood.store(WORKS, Ordering::SeqCst);
        assert!(matches!(storage.size(&key).await, Err(StorageError::Missing(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_brings_nothing_is_given_up() {
        let (storage, _) = limited(1);
        let key = BlobKey::from_bytes([7; 16]);
        let mut writer = storage.create(&key).await.expect("a writer");
        writer.write(vec![Bytes::from_static(b"content")]).await.expect("written");
        writer.commit().await.expect("committed");
        let blob = storage.open(&key, ByteRange::whole(7)).await.expect("open");
        let mut stream = blob.into_stream(4);
        let next = futures_util::StreamExt::next(&mut stream).await;
        let error = told(next.expect("an error").expect_err("nothing comes"));
        assert!(error.contains("nothing came for 30 s"), "{error}");
        assert_eq!(stream.remaining(), 0);
    }

    #[tokio::test]
    async fn after_a_failed_write_only_a_write_that_succeeds_makes_it_ready_again() {
        let (storage, moody) = limited(4);
        let key = BlobKey::from_bytes([7; 16]);
        storage.check().await.expect("ready");
        moody.mood.store(REFUSES_WRITES, Ordering::SeqCst);
        storage.check().await.expect("nobody has tried to write");
        assert!(storage.create(&key).await.is_err());
        assert!(storage.check().await.is_err());
        moody.mood.store(WORKS, Ordering::SeqCst);
        storage.check().await.expect("ready again");
        assert_eq!(storage.list(None).await.expect("a listing"), []);
    }
}
