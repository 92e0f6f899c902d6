//! An upload that is known by its upload_id.

use sqlx::{Row, postgres::PgRow};

use super::rows::{blob_key, digest, file_id, read_record, unsigned};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{Content, Sha256Digest, id::FileId},
    metadata::{FileRecord, Progress, UploadStatus},
};

/// The live upload with an owner and an upload_id.
pub(super) struct Earlier {
    pub(super) file_id: FileId,
    pub(super) start: Sha256Digest,
    pub(super) blob_key: BlobKey,
    /// Set once it is finished.
    pub(super) record: Option<FileRecord>,
    /// Set while it is unfinished and something of it is durable.
    pub(super) progress: Option<Progress>,
    /// What its content will be, where all of it has arrived.
    pub(super) sealed: Option<Content>,
    pub(super) reserved_bytes: u64,
    lease_until: Timestamp,
}

impl Earlier {
    /// Reads the columns of `statements::find_uploads`.
    pub(super) fn read(row: &PgRow) -> sqlx::Result<Self> {
        let active = row.try_get::<i64, _>(19)? == 1;
        let persisted_size_bytes = unsigned(row, 23)?;
        let state: Option<String> = row.try_get(24)?;
        let progress = state.map(|state| Progress { persisted_size_bytes, state });
        Ok(Self {
            file_id: file_id(row, 0)?,
            start: digest(row, 20)?,
            blob_key: blob_key(row, 6)?,
            record: active.then(|| read_record(row)).transpose()?,
            progress: progress.filter(|_| !active),
            sealed: read_sealed(row)?.filter(|_| !active),
            reserved_bytes: unsigned(row, 22)?,
            lease_until: Timestamp::from_unix_us(row.try_get(25)?),
        })
    }

    pub(super) fn persisted_size_bytes(&self) -> u64 {
        self.progress.as_ref().map_or(0, |progress| progress.persisted_size_bytes)
    }

    /// What is told of it at `now`; nothing of a file that cannot be seen.
    pub(super) fn into_status(self, now: Timestamp) -> Option<UploadStatus> {
        let persisted_size_bytes = self.persisted_size_bytes();
        match self.record {
            Some(record) if record.is_visible(now) => Some(UploadStatus::Finished(record.into())),
            Some(_) => None,
            None => Some(UploadStatus::Unfinished {
                persisted_size_bytes,
                expire_time: self.lease_until,
            }),
        }
    }
}

fn read_sealed(row: &PgRow) -> sqlx::Result<Option<Content>> {
    let sha256: Option<Sha256Digest> = row.try_get(8)?;
    sha256.map(|sha256| Ok(Content { size_bytes: unsigned(row, 7)?, sha256 })).transpose()
}
