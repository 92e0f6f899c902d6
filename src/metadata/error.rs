//! What metadata operations can fail with.

use std::error::Error as StdError;

use crate::{
    error::ErrorCode,
    file::{
        id::FileId,
        reference::REFERENCES_OF_FILE_MAX,
        usage::{Quota, Usage},
    },
};

/// What metadata operations return.
pub type Result<T> = std::result::Result<T, MetadataError>;

/// Why a metadata operation failed.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// The same `upload_id` was used with a different start.
    #[error("upload_id: this upload was started differently before")]
    UploadConflict,
    /// The upload is no longer this writer's: another one took it over, or it was given up.
    #[error("the upload was taken over by another call or given up")]
    UploadTakenOver,
    /// The data begins beyond what is durable of the upload.
    #[error("offset: only {persisted_size_bytes} bytes of this upload are durable")]
    OffsetMismatch {
        /// How many bytes are durable.
        persisted_size_bytes: u64,
    },
    /// The owner may store no more.
    #[error("{}", describe_quota(.quota, .held))]
    QuotaExceeded {
        /// What the owner may store.
        quota: Quota,
        /// What the owner stores and has under way.
        held: Usage,
    },
    /// The file has changed since the etag was read.
    #[error("etag: the file has changed since")]
    EtagMismatch,
    /// The file is still referenced.
    #[error("the file is still referenced; detach it, or delete it with force")]
    Referenced,
    /// The file to undelete is not deleted.
    #[error("the file is not deleted")]
    NotDeleted,
    /// One of several files is not there.
    #[error("no such file: {0}")]
    Missing(FileId),
    /// The file has as many references as a file may have.
    #[error("file_ids: {0} has {REFERENCES_OF_FILE_MAX} references already")]
    ReferencesFull(FileId),
    /// The database has no space left.
    #[error("no space left in the database")]
    Full(#[source] Box<dyn StdError + Send + Sync>),
    /// The database failed or cannot be reached.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    /// A record does not read back as what was written.
    #[error("a record is damaged")]
    Damaged(#[source] Box<dyn StdError + Send + Sync>),
}

impl MetadataError {
    /// Of an upload of which nothing is durable, or that is not there.
    pub(super) const fn nothing_persisted() -> Self {
        Self::OffsetMismatch { persisted_size_bytes: 0 }
    }

    /// The row of the error table.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UploadConflict => ErrorCode::UploadConflict,
            Self::UploadTakenOver => ErrorCode::UploadTakenOver,
            Self::OffsetMismatch { .. } => ErrorCode::OffsetMismatch,
            Self::QuotaExceeded { .. } => ErrorCode::QuotaExceeded,
            Self::EtagMismatch => ErrorCode::EtagMismatch,
            Self::Referenced => ErrorCode::FileReferenced,
            Self::NotDeleted => ErrorCode::FileNotDeleted,
            Self::Missing(_) => ErrorCode::FileNotFound,
            Self::ReferencesFull(_) => ErrorCode::FieldInvalid,
            Self::Full(_) => ErrorCode::StorageFull,
            Self::Unavailable(_) => ErrorCode::StorageUnavailable,
            Self::Damaged(_) => ErrorCode::Internal,
        }
    }
}

fn describe_quota(quota: &Quota, held: &Usage) -> String {
    match quota {
        Quota { file_count_max: Some(most), .. } if !quota.has_place(*held) => {
            format!("the user stores {} of at most {most} files", held.file_count)
        }
        Quota { stored_bytes_max: Some(most), .. } => format!(
            "the user stores {} of at most {most} bytes, uploads under way among them; the file does not fit",
            held.stored_bytes
        ),
        Quota { .. } => "the user may store no more".to_owned(),
    }
}
