//! The error table: one row a failure, with its gRPC code, HTTP status and stable reason.
//!
//! Each boundary has an error enum of its own with an exhaustive `code()`; what a caller is answered follows
//! from the code alone. `docs/architecture.md` holds the same table in words.

use std::{error::Error as StdError, fmt::Write};

use http::StatusCode;
use tonic::Code;

/// A failure as callers know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Missing, deleted, expired, or another user's file.
    FileNotFound,
    /// No unfinished or finished upload has this id.
    UploadNotFound,
    /// A bad field, message order, page token or ttl.
    FieldInvalid,
    /// The extension is not accepted, or the content contradicts it.
    FileTypeUnsupported,
    /// The content's SHA-256 is not the promised one.
    ChecksumMismatch,
    /// The content's length is not the promised one.
    SizeMismatch,
    /// The stream ended without finish.
    UploadIncomplete,
    /// The offset lies beyond what is durable.
    OffsetMismatch,
    /// Another writer took the upload over, or it was given up.
    UploadTakenOver,
    /// The file has changed since the etag was read.
    EtagMismatch,
    /// The same `upload_id` was used with a different start.
    UploadConflict,
    /// The file to undelete is not deleted.
    FileNotDeleted,
    /// The file to delete is still referenced.
    FileReferenced,
    /// The user may store no more.
    QuotaExceeded,
    /// The file is larger than this deployment or purpose accepts.
    FileTooLarge,
    /// The storage or the database has no space left.
    StorageFull,
    /// Too many calls at once.
    Overloaded,
    /// The sender was too slow or stalled.
    UploadStalled,
    /// Storage or database cannot be reached or has failed.
    StorageUnavailable,
    /// The process is draining.
    ShuttingDown,
    /// HTTP: the URL has made its one file already.
    UploadUrlUsed,
    /// HTTP: the tus client speaks another version.
    TusVersionUnsupported,
    /// A bug of ours.
    Internal,
    /// A live row whose blob is missing or damaged.
    ContentDamaged,
    /// HTTP: the method is neither GET nor HEAD.
    MethodNotAllowed,
    /// HTTP: nothing lives at this path.
    PathNotFound,
    /// HTTP: the request line is too long.
    UriTooLong,
    /// HTTP: the headers are too many or too long.
    HeadersTooLarge,
    /// HTTP: a parameter is unknown, repeated, missing or not in its strict form.
    LinkMalformed,
    /// HTTP: the signature is not one of ours for this link.
    SignatureInvalid,
    /// HTTP: the link was good and has ended.
    LinkExpired,
    /// HTTP: the link is signed for longer than links may live.
    LinkTooLong,
    /// HTTP: the range starts past the end.
    RangeNotSatisfiable,
}

/// One row of the table.
struct Row(Code, u16, &'static str);

impl ErrorCode {
    const fn row(self) -> Row {
        match self {
            Self::FileNotFound => Row(Code::NotFound, 404, "FILE_NOT_FOUND"),
            Self::UploadNotFound => Row(Code::NotFound, 404, "UPLOAD_NOT_FOUND"),
            Self::FieldInvalid => Row(Code::InvalidArgument, 400, "FIELD_INVALID"),
            Self::FileTypeUnsupported => Row(Code::InvalidArgument, 415, "FILE_TYPE_UNSUPPORTED"),
            Self::ChecksumMismatch => Row(Code::InvalidArgument, 422, "CHECKSUM_MISMATCH"),
            Self::SizeMismatch => Row(Code::OutOfRange, 400, "SIZE_MISMATCH"),
            Self::UploadIncomplete => Row(Code::Aborted, 400, "UPLOAD_INCOMPLETE"),
            Self::OffsetMismatch => Row(Code::OutOfRange, 409, "OFFSET_MISMATCH"),
            Self::UploadTakenOver => Row(Code::Aborted, 409, "UPLOAD_TAKEN_OVER"),
            Self::EtagMismatch => Row(Code::Aborted, 409, "ETAG_MISMATCH"),
            Self::UploadConflict => Row(Code::AlreadyExists, 409, "UPLOAD_CONFLICT"),
            Self::FileNotDeleted => Row(Code::AlreadyExists, 409, "FILE_NOT_DELETED"),
            Self::FileReferenced => Row(Code::FailedPrecondition, 409, "FILE_REFERENCED"),
            Self::QuotaExceeded => Row(Code::ResourceExhausted, 507, "QUOTA_EXCEEDED"),
            Self::FileTooLarge => Row(Code::ResourceExhausted, 413, "FILE_TOO_LARGE"),
            Self::StorageFull => Row(Code::ResourceExhausted, 507, "STORAGE_FULL"),
            Self::Overloaded => Row(Code::ResourceExhausted, 429, "OVERLOADED"),
            Self::UploadStalled => Row(Code::DeadlineExceeded, 408, "UPLOAD_STALLED"),
            Self::StorageUnavailable => Row(Code::Unavailable, 503, "STORAGE_UNAVAILABLE"),
            Self::ShuttingDown => Row(Code::Unavailable, 503, "SHUTTING_DOWN"),
            Self::UploadUrlUsed => Row(Code::AlreadyExists, 409, "UPLOAD_URL_USED"),
            Self::TusVersionUnsupported => {
                Row(Code::FailedPrecondition, 412, "TUS_VERSION_UNSUPPORTED")
            }
            Self::Internal => Row(Code::Internal, 500, "INTERNAL"),
            Self::ContentDamaged => Row(Code::DataLoss, 500, "CONTENT_DAMAGED"),
            Self::MethodNotAllowed => Row(Code::Unimplemented, 405, "METHOD_NOT_ALLOWED"),
            Self::PathNotFound => Row(Code::Unimplemented, 404, "PATH_NOT_FOUND"),
            Self::UriTooLong => Row(Code::InvalidArgument, 414, "URI_TOO_LONG"),
            Self::HeadersTooLarge => Row(Code::InvalidArgument, 431, "HEADERS_TOO_LARGE"),
            Self::LinkMalformed => Row(Code::InvalidArgument, 400, "LINK_MALFORMED"),
            Self::SignatureInvalid => Row(Code::PermissionDenied, 403, "SIGNATURE_INVALID"),
            Self::LinkExpired => Row(Code::FailedPrecondition, 410, "LINK_EXPIRED"),
            Self::LinkTooLong => Row(Code::PermissionDenied, 403, "LINK_TOO_LONG"),
            Self::RangeNotSatisfiable => Row(Code::OutOfRange, 416, "RANGE_NOT_SATISFIABLE"),
        }
    }

    /// The gRPC status code.
    pub const fn grpc(self) -> Code {
        self.row().0
    }

    /// The HTTP status.
    pub fn http(self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The reason clients may branch on; never changes.
    pub const fn reason(self) -> &'static str {
        self.row().2
    }

    /// Whether the same call may well succeed a little later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Overloaded | Self::StorageUnavailable | Self::ShuttingDown)
    }

    /// Whether the fault is ours: the caller then sees the reason alone, and the log the chain of causes.
    pub const fn is_server_fault(self) -> bool {
        matches!(
            self,
            Self::StorageUnavailable | Self::StorageFull | Self::Internal | Self::ContentDamaged
        )
    }
}

/// An error with its causes, outermost first: what a log line holds.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// A field of a request that cannot be accepted, found while parsing at the edge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The field's name in the contract.
    pub field: &'static str,
    /// What is wrong with it and what would be right.
    pub problem: String,
    /// Whether the type of the file, rather than the form of the field, is at fault.
    pub unsupported_type: bool,
}

impl FieldError {
    /// `field` is malformed: `problem` says how.
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into(), unsupported_type: false }
    }

    /// `field` names, or the content is, a type that is not accepted.
    pub fn unsupported(field: &'static str, problem: impl Into<String>) -> Self {
        Self { unsupported_type: true, ..Self::new(field, problem) }
    }

    /// The row of the error table.
    pub const fn code(&self) -> ErrorCode {
        if self.unsupported_type { ErrorCode::FileTypeUnsupported } else { ErrorCode::FieldInvalid }
    }
}
