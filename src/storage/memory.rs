//! Blobs in memory: for tests of what stands above storage. Gone with the process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{Blob, BlobEntry, BlobWriter, ByteRange, LIST_PAGE, Result, Storage, StorageError};
use crate::blob::BlobKey;

type Blobs = Arc<Mutex<BTreeMap<BlobKey, Bytes>>>;

/// Keeps every blob in memory.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    blobs: Blobs,
}

fn lock(blobs: &Blobs) -> MutexGuard<'_, BTreeMap<BlobKey, Bytes>> {
    blobs.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Storage for MemoryStorage {
    async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>> {
        Ok(Box::new(MemoryWriter {
            blobs: Arc::clone(&self.blobs),
            key: *key,
            content: BytesMut::new(),
        }))
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob> {
        let blobs = lock(&self.blobs);
        let content = blobs.get(key).ok_or(StorageError::Missing(*key))?;
        Blob::of_memory(content, key, range)
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        lock(&self.blobs).remove(key);
        Ok(())
    }

    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entry = |(key, content): (&BlobKey, &Bytes)| BlobEntry {
            key: *key,
            size_bytes: content.len() as u64,
        };
        let blobs = lock(&self.blobs);
        let page = blobs.range((from, Bound::Unbounded)).take(LIST_PAGE);
        Ok(page.map(entry).collect())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

struct MemoryWriter {
    blobs: Blobs,
    key: BlobKey,
    content: BytesMut,
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
        blobs.insert(self.key, self.content.freeze());
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
