//! The directory of the local backend: its paths, its shards, and whether its disk can still be trusted.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use uuid::Uuid;

use super::{BlobEntry, Result, failure, is_full};
use crate::{blob::BlobKey, clock::Timestamp};

/// What readers and writers share: the directory and whether it can still be trusted.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    /// The shards' directories, open: syncing one must not depend on there being a descriptor left.
    shards: Vec<File>,
    /// The staging directory, in the same way.
    staging: File,
    /// Set by the first failed sync: what the kernel has dropped since is unknown (fsyncgate).
    poisoned: AtomicBool,
}

impl Disk {
    pub(super) fn prepare(root: &Path) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        make_directory(&root.join("staging"))?;
        let shards = (0..=u8::MAX).map(|shard| {
            let path = shard_path(root, shard);
            make_directory(&path)?;
            File::open(path)
        });
        let disk = Self {
            root: root.to_owned(),
            shards: shards.collect::<io::Result<_>>()?,
            staging: File::open(root.join("staging"))?,
            poisoned: AtomicBool::new(false),
        };
        sync_directory(root)?;
        if let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
        Ok(disk)
    }

    pub(super) fn staging_path(&self, key: &BlobKey) -> PathBuf {
        self.root.join("staging").join(key.to_string())
    }

    pub(super) fn blob_path(&self, key: &BlobKey) -> PathBuf {
        shard_path(&self.root, shard_of(key)).join(key.to_string())
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            let source = io::Error::other("an earlier sync of the disk failed");
            return Err(failure("trust the disk")(source));
        }
        Ok(())
    }

    /// Makes a file's content durable. A failure is final for the whole disk.
    pub(super) fn sync_file(&self, file: &File) -> io::Result<()> {
        self.poison_on_error(file.sync_data())
    }

    /// Makes a blob's directory entry, or its absence, durable. A failure is final for the whole disk.
    pub(super) fn sync_entry(&self, key: &BlobKey) -> io::Result<()> {
        let shard = self.shards.get(usize::from(shard_of(key)));
        self.poison_on_error(shard.map_or(Ok(()), File::sync_all))
    }

    /// Makes what is written of a staging file durable, and its name with it.
    pub(super) fn sync_staged(&self, file: &File) -> io::Result<()> {
        self.sync_file(file)?;
        self.poison_on_error(self.staging.sync_all())
    }

    fn poison_on_error(&self, synced: io::Result<()>) -> io::Result<()> {
        if let Err(error) = &synced {
            // A full disk loses this file's bytes alone, and they are given up with it.
            self.poisoned.fetch_or(!is_full(error), Ordering::AcqRel);
        }
        synced
    }

    pub(super) fn remove(&self, key: &BlobKey) -> io::Result<()> {
        remove_if_there(&self.staging_path(key))?;
        if remove_if_there(&self.blob_path(key))? {
            self.sync_entry(key)?;
        }
        Ok(())
    }

    /// A committed blob's size.
    pub(super) fn size(&self, key: &BlobKey) -> io::Result<Option<u64>> {
        match fs::metadata(self.blob_path(key)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What lies in the staging directory.
    pub(super) fn list_staging(
        &self,
        after: Option<BlobKey>,
        most: usize,
        now: Timestamp,
    ) -> io::Result<Vec<BlobEntry>> {
        let mut entries = list_directory(&self.root.join("staging"), now)?;
        entries.retain(|entry| after.is_none_or(|after| entry.key > after));
        entries.sort_unstable_by_key(|entry| entry.key);
        entries.truncate(most);
        Ok(entries)
    }

    /// The mark that says whose the directory is.
    pub(super) fn owner(&self) -> io::Result<Option<Uuid>> {
        let text = match fs::read_to_string(self.root.join("owner")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let owner = Uuid::try_parse(text.trim());
        owner.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// The same mark: `owner`'s from now on where there was none.
    pub(super) fn mark(&self, owner: Uuid) -> io::Result<Uuid> {
        if let Some(owner) = self.owner()? {
            return Ok(owner);
        }
        let staging = self.root.join("staging").join(format!("owner.{}", Uuid::new_v4()));
        let mut file = File::create(&staging)?;
        file.write_all(owner.to_string().as_bytes())?;
        file.sync_all()?;
        // It appears whole, and the first one stays.
        match fs::hard_link(&staging, self.root.join("owner")) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        remove_if_there(&staging)?;
        sync_directory(&self.root)?;
        Ok(self.owner()?.unwrap_or(owner))
    }

    pub(super) fn list(
        &self,
        after: Option<BlobKey>,
        most: usize,
        now: Timestamp,
    ) -> io::Result<Vec<BlobEntry>> {
        let first_shard = after.as_ref().map_or(0, shard_of);
        let mut page = Vec::new();
        for shard in first_shard..=u8::MAX {
            let mut entries = list_directory(&shard_path(&self.root, shard), now)?;
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

/// A blob's shard is the first byte of its key.
fn shard_of(key: &BlobKey) -> u8 {
    let [first, ..] = *key.as_bytes();
    first
}

fn shard_path(root: &Path, shard: u8) -> PathBuf {
    root.join(format!("{shard:02x}"))
}

fn list_directory(directory: &Path, now: Timestamp) -> io::Result<Vec<BlobEntry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // Whatever is not named like a blob is none of ours.
        if let Some(key) = entry.file_name().to_str().and_then(BlobKey::parse) {
            let metadata = match entry.metadata() {
                // Gone since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            let age = now.since(metadata.modified()?.into());
            entries.push(BlobEntry { key, size_bytes: metadata.len(), age });
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

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
