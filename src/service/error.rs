//! What a use case can fail with: the errors of everything below it, and its own.

use crate::{
    error::{ErrorCode, FieldError},
    file::id::FileId,
    metadata::MetadataError,
    signing::LinkError,
    storage::StorageError,
    upload::UploadError,
};

/// What use cases return.
pub type Result<T> = std::result::Result<T, ServiceError>;

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A field of the request cannot be accepted.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The content is refused.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The database failed or refused.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The link is refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Missing, deleted, expired, or another user's file: they look alike.
    #[error("no such file")]
    FileNotFound,
    /// The content was found damaged and is not given out.
    #[error("the content of {0} was found damaged")]
    Quarantined(FileId),
    /// No upload of this owner has this id.
    #[error("no such upload")]
    UploadNotFound,
    /// The stream ended without finish.
    #[error("the upload ended without finish; {persisted_size_bytes} bytes of it are kept")]
    UploadIncomplete {
        /// How many bytes are durable, for a call that goes on.
        persisted_size_bytes: u64,
    },
    /// The sender let too much time pass.
    #[error("no data came for {idle_s} s")]
    UploadStalled {
        /// The time without data, in seconds.
        idle_s: u64,
    },
    /// As many uploads are running as may.
    #[error("too many uploads at once; try again shortly")]
    Overloaded,
    /// The process is about to end.
    #[error("the server is shutting down; try again")]
    ShuttingDown,
    /// The URL has made its one file.
    #[error("this URL has been used for another content")]
    UploadUrlUsed,
    /// The tus client speaks no version that is spoken here.
    #[error("tus-resumable: must be 1.0.0")]
    TusVersion,
    /// The operating system failed us.
    #[error("the operating system gave no randomness")]
    Randomness(#[from] getrandom::Error),
    /// A task of ours ended before its work did.
    #[error("a task ended early")]
    Task(#[from] tokio::task::JoinError),
}

impl ServiceError {
    /// More bytes than the file may have.
    pub const fn too_large(bytes_max: u64) -> Self {
        Self::Upload(UploadError::TooLarge { bytes_max })
    }

    /// The content has another length than was promised.
    pub const fn size_mismatch(promised: u64, received: u64) -> Self {
        Self::Upload(UploadError::SizeMismatch { promised, received })
    }

    /// The data does not begin where the durable bytes end.
    pub const fn offset_mismatch(persisted_size_bytes: u64) -> Self {
        Self::Metadata(MetadataError::OffsetMismatch { persisted_size_bytes })
    }

    /// The row of the error table.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Field(error) => error.code(),
            Self::Upload(error) => error.code(),
            Self::Storage(error) => error.code(),
            Self::Metadata(error) => error.code(),
            Self::Link(error) => error.code(),
            Self::FileNotFound => ErrorCode::FileNotFound,
            Self::Quarantined(_) => ErrorCode::ContentDamaged,
            Self::UploadNotFound => ErrorCode::UploadNotFound,
            Self::UploadIncomplete { .. } => ErrorCode::UploadIncomplete,
            Self::UploadStalled { .. } => ErrorCode::UploadStalled,
            Self::Overloaded => ErrorCode::Overloaded,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
            Self::UploadUrlUsed => ErrorCode::UploadUrlUsed,
            Self::TusVersion => ErrorCode::TusVersionUnsupported,
            Self::Randomness(_) | Self::Task(_) => ErrorCode::Internal,
        }
    }

    /// The field at fault, where one is, and what is wrong with it.
    pub fn field(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Field(error) | Self::Upload(UploadError::TypeContradicted(error)) => {
                Some((error.field, error.problem.clone()))
            }
            Self::Upload(error @ UploadError::SizeMismatch { .. }) => {
                Some(("size_bytes", problem_of(error, "size_bytes")))
            }
            Self::Upload(error @ UploadError::BeginningMismatch { .. }) => {
                Some(("data", problem_of(error, "data")))
            }
            Self::Upload(error @ UploadError::ChecksumMismatch { .. }) => {
                Some(("sha256", problem_of(error, "sha256")))
            }
            Self::Metadata(error @ MetadataError::OffsetMismatch { .. }) => {
                Some(("offset", problem_of(error, "offset")))
            }
            Self::Metadata(error @ MetadataError::ReferencesFull(_)) => {
                Some(("file_ids", problem_of(error, "file_ids")))
            }
            _ => None,
        }
    }

    /// How many bytes of the upload are durable, where the answer says so.
    pub const fn persisted_size_bytes(&self) -> Option<u64> {
        match self {
            Self::UploadIncomplete { persisted_size_bytes }
            | Self::Metadata(MetadataError::OffsetMismatch { persisted_size_bytes }) => {
                Some(*persisted_size_bytes)
            }
            _ => None,
        }
    }
}

/// What an error says beside the name of its field.
fn problem_of(error: &impl std::fmt::Display, field: &str) -> String {
    let text = error.to_string();
    let rest = text.strip_prefix(field).and_then(|rest| rest.strip_prefix(": "));
    rest.unwrap_or(&text).to_owned()
}
