//! Blobs in memory: for tests of what stands above storage. Gone with the process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::{Blob, BlobEntry, BlobWriter, ByteRange, LIST_PAGE, Result, Storage, StorageError};
use crate::{
    blob::BlobKey,
    clock::{Clock, Timestamp},
};

type Blobs = Arc<Mutex<BTreeMap<BlobKey, Stored>>>;

/// Keeps every blob in memory.
#[derive(Debug)]
pub struct MemoryStorage {
    blobs: Blobs,
    mark: Mutex<Option<Uuid>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
struct Stored {
    content: Bytes,
    at: Timestamp,
}

impl MemoryStorage {
    /// No blobs yet; ages are told by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { blobs: Blobs::default(), mark: Mutex::default(), clock }
    }
}

fn lock(blobs: &Blobs) -> MutexGuard<'_, BTreeMap<BlobKey, Stored>> {
    blobs.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(MemoryWriter {
            blobs: Arc::clone(&self.blobs),
            key: *key,
            content: BytesMut::new(),
            clock: Arc::clone(&self.clock),
        }))
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob> {
        let blobs = lock(&self.blobs);
        let stored = blobs.get(key).ok_or(StorageError::Missing(*key))?;
        Blob::of_memory(&stored.content, key, range)
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        let blobs = lock(&self.blobs);
        let stored = blobs.get(key).ok_or(StorageError::Missing(*key))?;
        Ok(stored.content.len() as u64)
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        lock(&self.blobs).remove(key);
        Ok(())
    }

    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let now = self.clock.now();
        let entry = |(key, stored): (&BlobKey, &Stored)| BlobEntry {
            key: *key,
            size_bytes: stored.content.len() as u64,
            age: now.since(stored.at),
        };
        let blobs = lock(&self.blobs);
        let page = blobs.range((from, Bound::Unbounded)).take(LIST_PAGE);
        Ok(page.map(entry).collect())
    }

    async fn list_unfinished(&self, _: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        // What a writer holds goes with it.
        Ok(Vec::new())
    }

    async fn owner(&self) -> Result<Option<Uuid>> {
        Ok(*self.mark.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn mark(&self, owner: Uuid) -> Result<Uuid> {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(*mark.get_or_insert(owner))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

struct MemoryWriter {
    blobs: Blobs,
    key: BlobKey,
    content: BytesMut,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl BlobWriter for MemoryWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        for chunk in chunks {
            self.content.extend_from_slice(&chunk);
        }
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let mut blobs = lock(&self.blobs);
        if blobs.contains_key(&self.key) {
            return Err(StorageError::Exists(self.key));
        }
        let stored = Stored { content: self.content.freeze(), at: self.clock.now() };
        blobs.insert(self.key, stored);
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
