//! A blob on its way: a file in the staging directory, written on threads that may block, and published by
//! rename. Knows nothing of small blobs.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use rustix::{
    fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with},
    io::pwritev,
};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Result, StorageError, blocking, disk::Disk, failure, settled, write_behind};
use crate::blob::BlobKey;

/// Dirty bytes after which the kernel is asked to start writing them out, so that the final sync finds
/// little left to do.
const WRITE_BEHIND_BYTES: u64 = 8 * 1024 * 1024;

/// Most slices in one vectored write (IOV_MAX on Linux).
const SLICES_MAX: usize = 1024;

pub(super) struct StagedFile {
    disk: Arc<Disk>,
    key: BlobKey,
    /// Locked for as long as anybody writes to it or may publish it: nobody else goes on with it meanwhile.
    file: Arc<File>,
    size_bytes: u64,
    /// The write that is under way: while one piece is written, the next one arrives.
    in_flight: Option<JoinHandle<io::Result<()>>>,
    /// How much is durable, and how much will be when the sync that is under way is done.
    durable_bytes: u64,
    syncing: Option<(u64, JoinHandle<io::Result<()>>)>,
}

impl StagedFile {
    /// Makes the staging file, in the caller's thread: a caller who is dropped then either has it or never
    /// makes it.
    pub(super) fn create(disk: Arc<Disk>, key: BlobKey) -> Result<Self> {
        let path = disk.staging_path(&key);
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(failure("create a staging file"))?;
        if !lock(&file).map_err(failure("lock a staging file"))? {
            return Err(StorageError::Held(key));
        }
        Ok(Self::over(disk, key, file, 0))
    }

    /// Goes on with the staging file from `size_bytes` on, which are durable.
    pub(super) async fn reopen(disk: Arc<Disk>, key: BlobKey, size_bytes: u64) -> Result<Self> {
        let path = disk.staging_path(&key);
        let reopened = blocking("go on with a staging file", move || reopen(&path, size_bytes));
        match reopened.await? {
            Reopened::Open(file) => Ok(Self::over(disk, key, file, size_bytes)),
            Reopened::Held => Err(StorageError::Held(key)),
            Reopened::Gone => Err(StorageError::Missing(key)),
        }
    }

    fn over(disk: Arc<Disk>, key: BlobKey, file: File, size_bytes: u64) -> Self {
        Self {
            disk,
            key,
            file: Arc::new(file),
            size_bytes,
            in_flight: None,
            durable_bytes: size_bytes,
            syncing: None,
        }
    }

    pub(super) async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()> {
        self.settle().await?;
        let (file, offset) = (Arc::clone(&self.file), self.size_bytes);
        self.size_bytes += chunks.iter().map(|chunk| chunk.len() as u64).sum::<u64>();
        let end = self.size_bytes;
        self.in_flight = Some(spawn_blocking(move || {
            write_all_at(&file, &chunks, offset)?;
            drop(chunks);
            if offset / WRITE_BEHIND_BYTES < end / WRITE_BEHIND_BYTES {
                write_behind::start(&file, end, WRITE_BEHIND_BYTES);
            }
            Ok(())
        }));
        Ok(())
    }

    /// Syncs the file, renames it to its place without replacing anything, and syncs the directory.
    pub(super) async fn publish(mut self) -> Result<()> {
        let written = match self.settle().await {
            Ok(()) => self.settle_sync().await,
            failed => failed,
        };
        if let Err(error) = written {
            // The writing failed; only cleaning up is left, and the sweeper finds by the row what stays.
            let _ = self.remove_staging().await;
            return Err(error);
        }
        let (disk, file, key) = (Arc::clone(&self.disk), Arc::clone(&self.file), self.key);
        let size_bytes = self.size_bytes;
        let publish = spawn_blocking(move || {
            // An earlier writer may have come further than anybody noted.
            if file.metadata()?.len() > size_bytes {
                file.set_len(size_bytes)?;
            }
            publish_file(&disk, &file, &key)
        });
        match settled(publish).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StorageError::Exists(self.key))
            }
            Err(error) => Err(failure("publish a blob")(error)),
        }
    }

    /// How much is durable. What is written so far is on its way to be, too.
    pub(super) async fn sync_behind(&mut self) -> Result<u64> {
        if self.syncing.as_ref().is_none_or(|(_, syncing)| syncing.is_finished()) {
            self.settle_sync().await?;
            self.settle().await?;
            let (disk, file) = (Arc::clone(&self.disk), Arc::clone(&self.file));
            let sync = spawn_blocking(move || disk.sync_staged(&file));
            self.syncing = Some((self.size_bytes, sync));
        }
        Ok(self.durable_bytes)
    }

    /// Leaves the file as it is, with everything in it durable; says how much that is.
    pub(super) async fn leave(mut self) -> Result<u64> {
        self.settle().await?;
        self.settle_sync().await?;
        if self.durable_bytes < self.size_bytes {
            let (disk, file) = (Arc::clone(&self.disk), Arc::clone(&self.file));
            blocking("sync a staging file", move || disk.sync_staged(&file)).await?;
        }
        Ok(self.size_bytes)
    }

    /// Waits for the sync that is under way.
    async fn settle_sync(&mut self) -> Result<()> {
        if let Some((size_bytes, syncing)) = self.syncing.take() {
            settled(syncing).await.map_err(failure("sync a staging file"))?;
            self.durable_bytes = size_bytes;
        }
        Ok(())
    }

    pub(super) async fn discard(mut self) -> Result<()> {
        // Whatever the last write and sync met, the file goes.
        let _ = self.settle().await;
        let _ = self.settle_sync().await;
        self.remove_staging().await
    }

    async fn remove_staging(&self) -> Result<()> {
        let path = self.disk.staging_path(&self.key);
        blocking("remove a staging file", move || fs::remove_file(path)).await
    }

    /// Waits for the write that is under way.
    async fn settle(&mut self) -> Result<()> {
        let Some(in_flight) = self.in_flight.take() else {
            return Ok(());
        };
        settled(in_flight).await.map_err(failure("write a blob"))
    }
}

/// What became of opening a staging file again.
enum Reopened {
    Open(File),
    /// Somebody is still writing to it.
    Held,
    /// It is not there, no longer of that name, or lacks what was durable.
    Gone,
}

fn reopen(path: &Path, size_bytes: u64) -> io::Result<Reopened> {
    let file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reopened::Gone),
        opened => opened?,
    };
    if !lock(&file)? {
        return Ok(Reopened::Held);
    }
    // Only who holds the lock publishes the file: it may have been until now.
    let opened = file.metadata()?;
    let named = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Reopened::Gone),
        named => named?,
    };
    if named.ino() != opened.ino() || opened.len() < size_bytes {
        return Ok(Reopened::Gone);
    }
    Ok(Reopened::Open(file))
}

/// Locks a file for as long as it is open; `false` where somebody else has.
fn lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn publish_file(disk: &Disk, file: &File, key: &BlobKey) -> io::Result<()> {
    let staging = disk.staging_path(key);
    if let Err(error) = disk.sync_file(file) {
        // Never synced again: a second sync can report success for pages the first one lost.
        let _ = fs::remove_file(staging);
        return Err(error);
    }
    let place = disk.blob_path(key);
    renameat_with(CWD, &staging, CWD, &place, RenameFlags::NOREPLACE)?;
    disk.sync_entry(key)
}

fn write_all_at(file: &File, chunks: &[Bytes], mut offset: u64) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut left = slices.as_mut_slice();
    // Empty slices at the front would make a complete write look like none.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let group = left.get(..SLICES_MAX).unwrap_or(left);
        match pwritev(file, group, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
