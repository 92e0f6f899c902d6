//! Counts of changes by stripes of file ids: in memory where one process alone changes records, in a small
//! file where several processes on one machine share a database.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::file::id::FileId;

/// Files whose changes are counted together; more of them only make needless look-ups rarer.
const STRIPES: usize = 1024;
const STAMP_BYTES: usize = size_of::<u64>();

/// Tells whether a file may have changed since it was looked up: a changed stamp says so. The same files
/// have the same stamp in every process.
#[derive(Debug)]
pub struct Changes {
    stamps: Stamps,
    /// What the next change is stamped with: unlike any other process's stamps.
    next: AtomicU64,
    /// Set once a stamp could not be written: none can be relied on any more.
    broken: AtomicBool,
}

#[derive(Debug)]
enum Stamps {
    Memory(Vec<AtomicU64>),
    /// Read and written in place. The kernel's page cache is what the processes share.
    Shared(File),
}

impl Changes {
    /// For a process that makes every change itself.
    pub fn in_memory() -> Self {
        let stamps = (0..STRIPES).map(|_| AtomicU64::new(0)).collect();
        Self {
            stamps: Stamps::Memory(stamps),
            next: AtomicU64::new(1),
            broken: AtomicBool::new(false),
        }
    }

    /// For processes that share the file at `path`, which is made where it is not there. What another
    /// process changed and could not tell any more counts as changed.
    pub fn shared(path: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut random = [0; STAMP_BYTES];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let changes = Self {
            stamps: Stamps::Shared(file),
            next: AtomicU64::new(u64::from_ne_bytes(random)),
            broken: AtomicBool::new(false),
        };
        changes.note_all()?;
        Ok(changes)
    }

    fn note_all(&self) -> io::Result<()> {
        match &self.stamps {
            Stamps::Memory(_) => Ok(()),
            Stamps::Shared(file) => {
                let stamp = self.fresh().to_ne_bytes();
                file.write_all_at(&stamp.repeat(STRIPES), 0)
            }
        }
    }

    fn fresh(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The file's stamp now; `None` where it cannot be told.
    pub(super) fn stamp(&self, file_id: &FileId) -> Option<u64> {
        let stripe = stripe(file_id);
        match &self.stamps {
            Stamps::Memory(stamps) => Some(stamps.get(stripe)?.load(Ordering::Acquire)),
            Stamps::Shared(_) if self.broken.load(Ordering::Acquire) => None,
            Stamps::Shared(file) => {
                let mut stamp = [0; STAMP_BYTES];
                file.read_exact_at(&mut stamp, offset(stripe)).ok()?;
                Some(u64::from_ne_bytes(stamp))
            }
        }
    }

    /// Notes that a file has changed.
    pub(super) fn note(&self, file_id: &FileId) {
        let (stripe, stamp) = (stripe(file_id), self.fresh());
        match &self.stamps {
            Stamps::Memory(stamps) => {
                if let Some(slot) = stamps.get(stripe) {
                    slot.store(stamp, Ordering::Release);
                }
            }
            Stamps::Shared(file) => {
                if let Err(error) = file.write_all_at(&stamp.to_ne_bytes(), offset(stripe)) {
                    self.broken.store(true, Ordering::Release);
                    tracing::error!(%error, "could not tell other processes of a change");
                }
            }
        }
    }
}

fn stripe(file_id: &FileId) -> usize {
    let bytes = file_id.as_bytes().iter();
    bytes.fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte))) % STRIPES
}

const fn offset(stripe: usize) -> u64 {
    (stripe * STAMP_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_in_one_process_shows_in_the_other() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("changes");
        let (one, other) = (Changes::shared(&path)?, Changes::shared(&path)?);
        let file_id = FileId::random()?;
        let before = one.stamp(&file_id);
        assert!(before.is_some());
        assert_eq!(other.stamp(&file_id), before);
        other.note(&file_id);
        assert_ne!(one.stamp(&file_id), before);
        assert_eq!(one.stamp(&file_id), other.stamp(&file_id));
        Ok(())
    }

    #[test]
    fn a_start_makes_everything_count_as_changed() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("changes");
        let one = Changes::shared(&path)?;
        let file_id = FileId::random()?;
        let before = one.stamp(&file_id);
        Changes::shared(&path)?;
        assert_ne!(one.stamp(&file_id), before);
        Ok(())
    }

    #[test]
    fn a_file_that_is_cut_short_tells_nothing() -> anyhow::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("changes");
        let changes = Changes::shared(&path)?;
        File::create(&path)?;
        assert_eq!(changes.stamp(&FileId::random()?), None);
        Ok(())
    }
}
