//! What a call can fail with, seen from the caller's side.

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// What calls return.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is not one that this client speaks to.
    #[error(
        "{0} is not an address of the form http://HOST:PORT; TLS is not available in this version"
    )]
    Address(String),
    /// What is to be passed on as a trace is none.
    #[error("{0} is not a traceparent")]
    Traceparent(String),
    /// The server cannot be reached.
    #[error("cannot reach the server")]
    Connection(#[from] tonic::transport::Error),
    /// The server refused or failed.
    #[error("{}", describe(.0))]
    Call(Box<Status>),
    /// Reading or writing on this side failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The answer is not whole.
    #[error("the server's answer lacks {0}, or a part of it")]
    Incomplete(&'static str),
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

impl ClientError {
    /// The stable reason from the server's error table, such as `FILE_NOT_FOUND`.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Call(status) => Some(status.get_details_error_info()?.reason),
            _ => None,
        }
    }

    /// The gRPC status code, where the server answered.
    pub fn grpc_code(&self) -> Option<Code> {
        match self {
            Self::Call(status) => Some(status.code()),
            _ => None,
        }
    }
}

fn describe(status: &Status) -> String {
    let reason = status.get_details_error_info().map(|info| info.reason);
    match reason {
        Some(reason) => format!("{} ({reason})", status.message()),
        None => format!("{} ({:?})", status.message(), status.code()),
    }
}
