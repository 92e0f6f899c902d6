//! Ballast: space set aside, so that on a full disk there is enough left to note what is to be deleted.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

/// More than any one transaction that frees space writes to the log.
const BALLAST_BYTES: u64 = 1024 * 1024;

/// A file that holds nothing but space.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// The ballast of the database at `path`; taken in where there is room for it.
    pub(super) fn beside(path: &Path) -> Self {
        let ballast = Self { path: path.with_extension("ballast") };
        ballast.take_in();
        ballast
    }

    /// Sets the space aside again where it was given up and there is room.
    pub(super) fn take_in(&self) {
        let whole = fs::metadata(&self.path).is_ok_and(|it| it.len() == BALLAST_BYTES);
        if whole {
            return;
        }
        if let Err(error) = self.allocate() {
            tracing::debug!(%error, "no room for ballast now");
            // Half a ballast is none, and only takes what others need.
            let _ = fs::remove_file(&self.path);
        }
    }

    fn allocate(&self) -> io::Result<()> {
        let file: File = OpenOptions::new().create(true).append(true).open(&self.path)?;
        Ok(fallocate(file, FallocateFlags::empty(), 0, BALLAST_BYTES)?)
    }

    /// Gives the space up; tells whether there was any.
    pub(super) fn give_up(&self) -> bool {
        let given_up = fs::remove_file(&self.path).is_ok();
        if given_up {
            tracing::warn!(path = %self.path.display(), "the disk is full; gave up the ballast");
        }
        given_up
    }
}
