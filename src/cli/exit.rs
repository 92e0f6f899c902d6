//! Exit codes that scripts can rely on, and the one message that goes with them.

use std::process::ExitCode;

use tonic::Code;

use crate::{client::ClientError, config::ConfigMistakes};

const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 3;
const REFUSED: u8 = 4;
const UNAVAILABLE: u8 = 5;

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
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Address(_)) => USAGE,
        Some(ClientError::Connection(_)) => UNAVAILABLE,
        // The same file will not fit the next time either.
        Some(error) if error.reason().as_deref() == Some("FILE_TOO_LARGE") => REFUSED,
        Some(error) => match error.grpc_code() {
            Some(Code::NotFound) => NOT_FOUND,
            Some(Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted) => {
                UNAVAILABLE
            }
            Some(Code::Internal | Code::DataLoss | Code::Unknown) | None => FAILURE,
            Some(_) => REFUSED,
        },
        None => FAILURE,
    }
}

/// A mistake in the command line that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);
