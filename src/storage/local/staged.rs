//! A blob on its way: a file in the staging directory, written on threads that may block, and published by
//! rename. Knows nothing of small blobs.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::Bytes;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
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
    file: Arc<File>,
    size_bytes: u64,
    /// The write that is under way: while one piece is written, the next one arrives.
    in_flight: Option<JoinHandle<io::Result<()>>>,
}

impl StagedFile {
    /// Makes the staging file, in the caller's thread: a caller who is dropped then either has it or never
    /// makes it.
    pub(super) fn create(disk: Arc<Disk>, key: BlobKey) -> Result<Self> {
        let path = disk.staging_path(&key);
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(failure("create a staging file"))?;
        Ok(Self { disk, key, file: Arc::new(file), size_bytes: 0, in_flight: None })
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
        if let Err(error) = self.settle().await {
            // The writing failed; only cleaning up is left, and the sweeper finds by the row what stays.
            let _ = self.remove_staging().await;
            return Err(error);
        }
        let (disk, file, key) = (Arc::clone(&self.disk), Arc::clone(&self.file), self.key);
        match settled(spawn_blocking(move || publish_file(&disk, &file, &key))).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StorageError::Exists(self.key))
            }
            Err(error) => Err(failure("publish a blob")(error)),
        }
    }

    pub(super) async fn discard(mut self) -> Result<()> {
        // Whatever the last write met, the file goes.
        let _ = self.settle().await;
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
