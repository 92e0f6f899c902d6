//! Failures as gRPC statuses. What is our fault is logged here, once, with its causes, and the caller sees
//! the reason alone.

use std::{collections::HashMap, time::Duration};

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    error::{ErrorCode, chain},
    service::ServiceError,
};

/// The domain of every reason, as google.rpc.ErrorInfo wants it.
pub const ERROR_DOMAIN: &str = "files.v1";
/// When to try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longer texts in a status hang some clients.
const MESSAGE_CHARS_MAX: usize = 1024;

/// The status that tells a caller of `error`.
pub fn to_status(error: &ServiceError) -> Status {
    let code = error.code();
    let message = public_message(error);
    let mut metadata = HashMap::new();
    if let Some(size) = error.persisted_size_bytes() {
        metadata.insert("persisted_size_bytes".to_owned(), size.to_string());
    }
    let mut details = ErrorDetails::with_error_info(code.reason(), ERROR_DOMAIN, metadata);
    if let Some((field, problem)) = error.field() {
        details.add_bad_request_violation(field, shortened(&problem));
    }
    if code.is_retryable() {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    Status::with_error_details(code.grpc(), message, details)
}

/// What a caller may read of `error`; logs it where the fault is ours.
pub fn public_message(error: &ServiceError) -> String {
    let code = error.code();
    if !code.is_server_fault() {
        return shortened(&error.to_string());
    }
    tracing::error!(reason = code.reason(), error = chain(error), "a call failed");
    match code {
        ErrorCode::StorageFull => "the server has no space left",
        ErrorCode::StorageUnavailable => "the server cannot reach its storage; try again",
        ErrorCode::ContentDamaged => "the file's content is damaged",
        _ => "the server met an error of its own",
    }
    .to_owned()
}

fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS_MAX).collect()
}
