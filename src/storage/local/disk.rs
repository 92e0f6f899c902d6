//! The directory of the local backend: its paths, its shards, and whether its disk can still be trusted.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{BlobEntry, Result, failure};
use crate::blob::BlobKey;

/// What readers and writers share: the directory and whether it can still be trusted.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    /// Set by the first failed sync: what the kernel has dropped since is unknown (fsyncgate).
    poisoned: AtomicBool,
}

impl Disk {
    pub(super) fn prepare(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let disk = Self { root: root.to_owned(), poisoned: AtomicBool::new(false) };
        make_directory(&disk.staging())?;
        for shard in 0..=u8::MAX {
            make_directory(&disk.shard(shard))?;
        }
        sync_directory(root)?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
        Ok(disk)
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(super) fn staging_path(&self, key: &BlobKey) -> PathBuf {
        self.staging().join(key.to_string())
    }

    fn shard(&self, first_byte: u8) -> PathBuf {
        self.root.join(format!("{first_byte:02x}"))
    }

    pub(super) fn shard_of(&self, key: &BlobKey) -> PathBuf {
        let [first, ..] = key.as_bytes();
        self.shard(*first)
    }

    pub(super) fn blob_path(&self, key: &BlobKey) -> PathBuf {
        self.shard_of(key).join(key.to_string())
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            let source = io::Error::other("an earlier sync of the disk failed");
            return Err(failure("trust the disk")(source));
        }
        Ok(())
    }

    /// Notes a failed sync; what the caller makes of `outcome` stays the same.
    pub(super) fn poison_on_error<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            self.poisoned.store(true, Ordering::Release);
        }
        outcome
    }

    pub(super) fn remove(&self, key: &BlobKey) -> io::Result<()> {
        remove_if_there(&self.staging_path(key))?;
        if remove_if_there(&self.blob_path(key))? {
            self.poison_on_error(sync_directory(&self.shard_of(key)))?;
        }
        Ok(())
    }

    pub(super) fn list(&self, after: Option<BlobKey>, most: usize) -> io::Result<Vec<BlobEntry>> {
        let first_shard = after.map_or(0, |key| {
            let [first, ..] = *key.as_bytes();
            first
        });
        let mut page = Vec::new();
        for shard in first_shard..=u8::MAX {
            let mut entries = list_shard(&self.shard(shard))?;
            entries.retain(|entry| after.is_none_or(|after| entry.key > after));
            entries.sort_unstable_by_key(|entry| entry.key);
            page.extend(entries);
            if page.len() >= most {
                break;
            }
        }
        page.truncate(most);
        Ok(page)
    }
}

fn list_shard(shard: &Path) -> io::Result<Vec<BlobEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(shard)? {
        let entry = entry?;
        // Whatever is not named like a blob is none of ours.
        if let Some(key) = entry.file_name().to_str().and_then(BlobKey::parse) {
            let size_bytes = entry.metadata()?.len();
            entries.push(BlobEntry { key, size_bytes });
        }
    }
    Ok(entries)
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
