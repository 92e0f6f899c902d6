//! An upload that is known by its upload_id, as databases read it.

use super::{FileRecord, Progress, UploadStatus};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{Content, Sha256Digest, id::FileId},
};

/// The live upload with an owner and an upload_id.
#[derive(Debug)]
pub(super) struct KnownUpload {
    pub(super) file_id: FileId,
    pub(super) start: Sha256Digest,
    pub(super) blob_key: BlobKey,
    /// Set once it is finished.
    pub(super) record: Option<FileRecord>,
    /// Set while it is unfinished and something of it is durable.
    pub(super) progress: Option<Progress>,
    /// What its content will be, where it is unfinished and all of it has arrived.
    pub(super) sealed: Option<Content>,
    pub(super) reserved_bytes: u64,
    pub(super) lease_until: Timestamp,
}

impl KnownUpload {
    pub(super) fn persisted_size_bytes(&self) -> u64 {
        self.progress.as_ref().map_or(0, |progress| progress.persisted_size_bytes)
    }

    /// Whether it has become a file that nobody sees any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.record.as_ref().is_some_and(|record| !record.is_visible(now))
    }

    /// What is told of it at `now`.
    pub(super) fn into_status(self, now: Timestamp) -> UploadStatus {
        let persisted_size_bytes = self.persisted_size_bytes();
        UploadStatus::of(self.record, persisted_size_bytes, self.lease_until, now)
    }
}

impl UploadStatus {
    /// What is told at `now` of an upload that has become `record`, or is unfinished.
    pub(super) fn of(
        record: Option<FileRecord>,
        persisted_size_bytes: u64,
        lease_until: Timestamp,
        now: Timestamp,
    ) -> Self {
        match record {
            Some(record) if record.is_visible(now) => Self::Finished(Box::new(record)),
            Some(_) => Self::Deleted,
            None => Self::Unfinished { persisted_size_bytes, expire_time: lease_until },
        }
    }
}
