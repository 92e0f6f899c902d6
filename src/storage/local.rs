//! Blobs on a local disk. Large ones are files of their own, published by rename; small ones share a
//! database of the backend's own, so that one sync of the disk serves many.
//!
//! ```text
//! ROOT/00 … ROOT/ff     committed blobs, by the first byte of their key
//! ROOT/staging          blobs being written
//! ROOT/small.db         blobs of at most 32 KiB
//! ROOT/owner            the id of the database that the blobs belong to
//! ```

mod disk;
mod small;
mod staged;
mod write_behind;

use std::{fs::File, io, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Blob, BlobEntry, BlobWriter, ByteRange, Checkpoint, LIST_PAGE, Result, Storage, StorageError,
};
use crate::{blob::BlobKey, clock::Clock};
use disk::Disk;
use small::{SMALL_BYTES_MAX, SmallBlobs};
use staged::StagedFile;

/// Small blobs are estimated at this size when the cache is laid out.
const SMALL_BYTES_TYPICAL: u64 = 8 * 1024;

/// Blobs below one directory of a local disk.
#[derive(Debug)]
pub struct LocalStorage {
    disk: Arc<Disk>,
    small: SmallBlobs,
    /// Blobs never change, so what is cached of one is right until it is deleted.
    small_cache: Cache<BlobKey, Bytes, ByBytes>,
    open_files: Option<Cache<BlobKey, OpenFile>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
struct OpenFile {
    file: Arc<File>,
    size_bytes: u64,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<BlobKey, Bytes> for ByBytes {
    fn weight(&self, _: &BlobKey, content: &Bytes) -> u64 {
        content.len() as u64 + 64
    }
}

/// What is kept at hand for readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadCache {
    /// Most bytes of small blobs kept in memory.
    pub small_bytes_max: u64,
    /// Most files kept open. An open file keeps its space when another process deletes it: 0 where there may
    /// be one.
    pub open_files_max: usize,
}

impl LocalStorage {
    /// Opens the directory `root`, making it and its shards first where they are not there. The ages of blobs
    /// are told by `clock`.
    pub fn open(root: &Path, cache: ReadCache, clock: Arc<dyn Clock>) -> Result<Self> {
        let disk = Disk::prepare(root).map_err(failure("prepare the blob directory"))?;
        Ok(Self {
            disk: Arc::new(disk),
            small: SmallBlobs::open(&root.join("small.db"))?,
            small_cache: Cache::with_weighter(
                usize::try_from(cache.small_bytes_max / SMALL_BYTES_TYPICAL).unwrap_or(usize::MAX),
                cache.small_bytes_max,
                ByBytes,
            ),
            open_files: (cache.open_files_max > 0).then(|| Cache::new(cache.open_files_max)),
            clock,
        })
    }

    fn writer(&self, key: &BlobKey, state: WriterState) -> Box<dyn BlobWriter> {
        Box::new(LocalWriter {
            disk: Arc::clone(&self.disk),
            small: self.small.clone(),
            key: *key,
            clock: Arc::clone(&self.clock),
            state,
        })
    }

    /// What is at hand first: only a blob met for the first time asks the small blobs' database, and then
    /// the disk.
    fn find(&self, key: &BlobKey) -> Result<Found> {
        if let Some(content) = self.small_cache.get(key) {
            return Ok(Found::Small(content));
        }
        if let Some(file) = self.open_files.as_ref().and_then(|files| files.get(key)) {
            return Ok(Found::File(file));
        }
        if let Some(content) = self.small.find(key)? {
            self.small_cache.insert(*key, content.clone());
            return Ok(Found::Small(content));
        }
        let file = OpenFile::open(&self.disk, key)?;
        if let Some(open_files) = &self.open_files {
            open_files.insert(*key, file.clone());
        }
        Ok(Found::File(file))
    }
}

/// A committed blob, by the way in which it is kept.
enum Found {
    Small(Bytes),
    File(OpenFile),
}

impl OpenFile {
    fn open(disk: &Disk, key: &BlobKey) -> Result<Self> {
        let file = match File::open(disk.blob_path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StorageError::Missing(*key));
            }
            opened => opened.map_err(failure("open a blob"))?,
        };
        let size_bytes = file.metadata().map_err(failure("open a blob"))?.len();
        Ok(Self { file: Arc::new(file), size_bytes })
    }
}

#[async_trait]
impl Storage for LocalStorage {
    async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>> {
        self.disk.check()?;
        Ok(self.writer(key, WriterState::Small(Vec::new())))
    }

    async fn resume(&self, key: &BlobKey, at: &Checkpoint) -> Result<Box<dyn BlobWriter>> {
        self.disk.check()?;
        let staged = StagedFile::reopen(Arc::clone(&self.disk), *key, at.size_bytes).await?;
        Ok(self.writer(key, WriterState::Staged(staged)))
    }

    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob> {
        match self.find(key)? {
            Found::Small(content) => Blob::of_memory(&content, key, range),
            Found::File(OpenFile { file, size_bytes }) => {
                range.check_within(size_bytes, key)?;
                Ok(Blob::File { file, key: *key, range })
            }
        }
    }

    async fn size(&self, key: &BlobKey) -> Result<u64> {
        if let Some(size) = self.small.size(key)? {
            return Ok(size);
        }
        let size = self.disk.size(key).map_err(failure("look at a blob"))?;
        size.ok_or(StorageError::Missing(*key))
    }

    async fn delete(&self, key: &BlobKey) -> Result<()> {
        self.small.delete(key).await?;
        let (disk, key) = (Arc::clone(&self.disk), *key);
        let removed = blocking("delete a blob", move || disk.remove(&key)).await;
        self.small_cache.remove(&key);
        if let Some(open_files) = &self.open_files {
            open_files.remove(&key);
        }
        removed
    }

    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        let now = self.clock.now();
        let mut page = self.small.list(after, LIST_PAGE, now)?;
        let (disk, after) = (Arc::clone(&self.disk), after.copied());
        let files = blocking("list blobs", move || disk.list(after, LIST_PAGE, now)).await?;
        page.extend(files);
        page.sort_unstable_by_key(|entry| entry.key);
        page.truncate(LIST_PAGE);
        Ok(page)
    }

    async fn list_unfinished(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>> {
        let (disk, after, now) = (Arc::clone(&self.disk), after.copied(), self.clock.now());
        blocking("list unfinished blobs", move || disk.list_staging(after, LIST_PAGE, now)).await
    }

    async fn owner(&self) -> Result<Option<Uuid>> {
        let disk = Arc::clone(&self.disk);
        blocking("read the owner's mark", move || disk.owner()).await
    }

    async fn mark(&self, owner: Uuid) -> Result<Uuid> {
        let disk = Arc::clone(&self.disk);
        blocking("read or write the owner's mark", move || disk.mark(owner)).await
    }

    async fn check(&self) -> Result<()> {
        self.disk.check()?;
        self.small.check()
    }

    fn failed(&self) -> CancellationToken {
        self.small.failed().clone()
    }
}

/// Whether an I/O error says that there is no space left.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Turns an I/O error met while trying to `action` into a storage error.
fn failure(action: &'static str) -> impl FnOnce(io::Error) -> StorageError {
    move |source| match is_full(&source) {
        true => StorageError::Full { action, source: source.into() },
        false => StorageError::Unavailable { action, source: source.into() },
    }
}

/// Waits for work on a thread that may block; a panic there is an error like any other.
async fn settled<T>(work: JoinHandle<io::Result<T>>) -> io::Result<T> {
    work.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    settled(spawn_blocking(work)).await.map_err(failure(action))
}

/// Holds a blob back while it may still be a small one; then writes it to a file.
struct LocalWriter {
    disk: Arc<Disk>,
    small: SmallBlobs,
    key: BlobKey,
    clock: Arc<dyn Clock>,
    state: WriterState,
}

enum WriterState {
    Small(Vec<u8>),
    Staged(StagedFile),
}

#[async_trait]
impl BlobWriter for LocalWriter {
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        let more: usize = chunks.iter().map(Bytes::len).sum();
        let held = match &mut self.state {
            WriterState::Staged(staged) => return staged.write(chunks).await,
            WriterState::Small(held) if held.len() + more <= SMALL_BYTES_MAX => {
                chunks.iter().for_each(|chunk| held.extend_from_slice(chunk));
                return Ok(());
            }
            WriterState::Small(held) => Bytes::from(std::mem::take(held)),
        };
        let mut staged = StagedFile::create(Arc::clone(&self.disk), self.key)?;
        let all = std::iter::once(held).chain(chunks).collect();
        let written = staged.write(all).await;
        self.state = WriterState::Staged(staged);
        written
    }

    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>> {
        match &mut self.state {
            WriterState::Small(_) => Ok(None),
            WriterState::Staged(staged) => Ok(Checkpoint::plain(staged.sync_behind().await?)),
        }
    }

    async fn suspend(self: Box<Self>) -> Result<Option<Checkpoint>> {
        match self.state {
            WriterState::Small(held) if held.is_empty() => Ok(None),
            WriterState::Small(held) => {
                let mut staged = StagedFile::create(self.disk, self.key)?;
                staged.write(vec![held.into()]).await?;
                Ok(Checkpoint::plain(staged.leave().await?))
            }
            WriterState::Staged(staged) => Ok(Checkpoint::plain(staged.leave().await?)),
        }
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        match self.state {
            WriterState::Small(content) => {
                self.small.insert(self.key, content, self.clock.now()).await
            }
            WriterState::Staged(staged) => staged.publish().await,
        }
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        match self.state {
            WriterState::Small(_) => Ok(()),
            WriterState::Staged(staged) => staged.discard().await,
        }
    }
}
