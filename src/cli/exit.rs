//! Exit codes that scripts can rely on, and the one message that goes with them.

use std::process::ExitCode;

use tonic::Code;

use crate::{client::ClientError, config::ConfigMistakes};

const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const REFUSED: u8 = 4;
const UNAVAILABLE: u8 = 5;
const UNFINISHED: u8 = 6;

/// Tells what went wrong on standard error, and the code to exit with.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    // A reader that has gone away, as in `files list | head`, is no failure worth words.
    let broken_pipe = error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    if !broken_pipe {
        eprintln!("files: {error:#}");
    }
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigMistakes>() || error.is::<Usage>() {
        return USAGE;
    }
    if error.is::<Unfinished>() {
        return UNFINISHED;
    }
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Address(_)) => USAGE,
        Some(ClientError::Connection(_)) => UNAVAILABLE,
        Some(error) => match error.grpc_code() {
            Some(Code::NotFound) => NOT_FOUND,
            Some(Code::ResourceExhausted) if will_never_fit(error) => REFUSED,
            Some(Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted) => {
                UNAVAILABLE
            }
            Some(Code::Internal | Code::DataLoss | Code::Unknown) | None => FAILURE,
            Some(_) => REFUSED,
        },
        None => FAILURE,
    }
}

/// Whether the same file will not fit the next time either, unlike one that met a server too busy or full.
fn will_never_fit(error: &ClientError) -> bool {
    matches!(error.reason().as_deref(), Some("FILE_TOO_LARGE" | "QUOTA_EXCEEDED"))
}

/// A mistake in the command line that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// A command did its work and could not do all of it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unfinished(pub(super) String);

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use anyhow::Context;
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn a_refusal_is_told_from_what_may_work_later() {
        for (grpc, reason, expected) in [
            (Code::NotFound, "FILE_NOT_FOUND", NOT_FOUND),
            (Code::InvalidArgument, "FIELD_INVALID", REFUSED),
            (Code::FailedPrecondition, "FILE_REFERENCED", REFUSED),
            (Code::AlreadyExists, "FILE_NOT_DELETED", REFUSED),
            (Code::Aborted, "ETAG_MISMATCH", REFUSED),
            (Code::ResourceExhausted, "QUOTA_EXCEEDED", REFUSED),
            (Code::ResourceExhausted, "FILE_TOO_LARGE", REFUSED),
            (Code::ResourceExhausted, "STORAGE_FULL", UNAVAILABLE),
            (Code::ResourceExhausted, "OVERLOADED", UNAVAILABLE),
            (Code::Unavailable, "SHUTTING_DOWN", UNAVAILABLE),
            (Code::Internal, "INTERNAL", FAILURE),
        ] {
            let details = ErrorDetails::with_error_info(reason, "files.v1", HashMap::new());
            let status = Status::with_error_details(grpc, "no", details);
            let told: Result<(), _> = Err(ClientError::from(status)).context("a.txt");
            assert_eq!(code(&told.expect_err("an error")), expected, "{reason}");
        }
    }

    #[test]
    fn a_mistake_in_the_command_line_has_a_code_of_its_own() {
        assert_eq!(code(&Usage("no".to_owned()).into()), USAGE);
        assert_eq!(code(&anyhow::anyhow!("no")), FAILURE);
    }
}
