//! Blobs in memory: for tests of what stands above storage. Gone with the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::{
    Blob, BlobEntry, BlobWriter, ByteRange, Checkpoint, LIST_PAGE, Result, Storage, StorageError,
};
use crate::{
    blob::BlobKey,
    clock::{Clock, Timestamp},
};

type Blobs = Arc<Mutex<Everything>>;

#[derive(Debug, Default)]
struct Everything {
    committed: BTreeMap<BlobKey, Stored>,
    unfinished: BTreeMap<BlobKey, Unfinished>,
}

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

/// What is durable of a blob, and whether a writer is still at it.
#[derive(Clone, Debug)]
struct Unfinished {
    stored: Stored,
    writer: Weak<()>,
}

impl MemoryStorage {
    /// No blobs yet; ages are told by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { blobs: Blobs::default(), mark: Mutex::default(), clock }
    }

    fn page<'a>(
        &self,
        after: Option<&BlobKey>,
        stored: impl Iterator<Item = (&'a BlobKey, &'a Stored)>,
    ) -> Vec<BlobEntry> {
        let now = self.clock.now();
        let entry = |(key, stored): (&BlobKey, &Stored)| BlobEntry {
            key: *key,
            size_bytes: stored.content.len() as u64,
            age: now.since(stored.at),
        };
        let rest = stored.filter(|(key, _)| after.is_none_or(|after| *key > after));
        rest.take(LIST_PAGE).map(entry).collect()
    }
}

fn lock(blobs: &Blobs) -> MutexGuard<'_, Everything> {
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
            alive: Arc::new(()),
        }))
    }

    async fn resume(&self, key: &BlobKey, at: &Checkpoint) -> Result<Box<dyn BlobWriter>> {
        let mut blobs = lock(&self.blobs);
        let unfinished = blobs.unfinished.get_mut(key).ok_or(StorageError::Missing(*key))?;
        if unfinished.writer.strong_count() > 0 {
            return Err(StorageError::Held(*key));
        }
        let alive = Arc::new(());
        unfinished.writer = Arc::downgrade(&alive);
        let durable = unfinished.stored.content.get(..at.size_bytes as usize);
        Ok(Box::new(MemoryWriter {
            blobs: Arc::clone(&self.blobs),
            key: *key,
            content: BytesMut::from(durable.ok_or(StorageError::Missing(*key))?),
            clock: Arc::clone(&self.clock),
            alive,
        }))
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob> {
        let blobs = lock(&self.blobs);
        let stored = blobs.committed.get(key).ok_or(StorageError::Missing(*key))?;
        Blob::of_memory(&stored.content, key, range)
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        let blobs = lock(&self.blobs);
        let stored = blobs.committed.get(key).ok_or(StorageError::Missing(*key))?;
        Ok(stored.content.len() as u64)
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        let mut blobs = lock(&self.blobs);
        blobs.committed.remove(key);
        blobs.unfinished.remove(key);
        Ok(())
    }

    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        let blobs = lock(&self.blobs);
        Ok(self.page(after, blobs.committed.iter()))
    }

    async fn list_unfinished(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        let blobs = lock(&self.blobs);
        Ok(self.page(after, blobs.unfinished.iter().map(|(key, it)| (key, &it.stored))))
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
    alive: Arc<()>,
}

impl MemoryWriter {
    /// Makes everything written so far durable.
    fn keep(&self) -> Option<Checkpoint> {
        if self.content.is_empty() {
            return None;
        }
        let content = Bytes::copy_from_slice(&self.content);
        let stored = Stored { content, at: self.clock.now() };
        let writer = Arc::downgrade(&self.alive);
        lock(&self.blobs).unfinished.insert(self.key, Unfinished { stored, writer });
        Checkpoint::plain(self.content.len() as u64)
    }
}

#[async_trait]
impl BlobWriter for MemoryWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        for chunk in chunks {
            self.content.extend_from_slice(&chunk);
        }
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        Ok(self.keep())
    }

    async fn suspend(self: Box<Self>) -> Result<Option<Checkpoint>> {
        Ok(self.keep())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let mut blobs = lock(&self.blobs);
        blobs.unfinished.remove(&self.key);
        if blobs.committed.contains_key(&self.key) {
            return Err(StorageError::Exists(self.key));
        }
        let stored = Stored { content: self.content.freeze(), at: self.clock.now() };
        blobs.committed.insert(self.key, stored);
        Ok(())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        lock(&self.blobs).unfinished.remove(&self.key);
        Ok(())
    }
}
