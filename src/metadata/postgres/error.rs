//! What PostgreSQL's errors mean here, and which of them pass by themselves.

use sqlx::Error;

use crate::metadata::MetadataError;

/// Out of disk space.
const DISK_FULL: &str = "53100";
/// Another transaction was in the way: deadlock and serialization failure.
const IN_THE_WAY: [&str; 2] = ["40P01", "40001"];
/// The server ended the connection or is starting: shutdown, crash, not yet ready.
const SERVER_ENDED: [&str; 3] = ["57P01", "57P02", "57P03"];
/// The class of broken connections.
const CONNECTION_CLASS: &str = "08";

/// Why a database cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    /// A setting that durability or texts rest on did not take.
    #[error("the database does not keep {0}")]
    Setting(&'static str),
    /// A newer version of this program has changed the schema.
    #[error(
        "the database's schema has {found} migrations, but this program knows only {known} of them"
    )]
    TooNew {
        /// How many were found.
        found: usize,
        /// How many are known.
        known: usize,
    },
    /// Another program's schema.
    #[error("migration {position} of the database's schema is {found}, not {known}")]
    OtherSchema {
        /// Its place, from 1 on.
        position: usize,
        /// The name found.
        found: String,
        /// The name known.
        known: &'static str,
    },
}

/// The task that commits in groups has ended.
#[derive(Debug, thiserror::Error)]
#[error("the database has been closed")]
pub(super) struct Closed;

impl From<Error> for MetadataError {
    fn from(error: Error) -> Self {
        match error {
            Error::ColumnDecode { .. }
            | Error::ColumnIndexOutOfBounds { .. }
            | Error::ColumnNotFound(_)
            | Error::Decode(_) => Self::Damaged(error.into()),
            // Holds what is wrong, and says nothing of its own.
            Error::Configuration(unfit) => Self::Unavailable(unfit),
            _ if code_of(&error).as_deref() == Some(DISK_FULL) => Self::Full(error.into()),
            _ => Self::Unavailable(error.into()),
        }
    }
}

impl From<Unfit> for MetadataError {
    fn from(unfit: Unfit) -> Self {
        Self::Unavailable(unfit.into())
    }
}

impl From<Unfit> for Error {
    fn from(unfit: Unfit) -> Self {
        Self::Configuration(unfit.into())
    }
}

/// Whether the connection is gone: what was asked last may or may not have been done.
pub(super) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Protocol(_) | Error::WorkerCrashed => true,
        _ => code_of(error).is_some_and(|code| {
            code.starts_with(CONNECTION_CLASS) || SERVER_ENDED.contains(&code.as_str())
        }),
    }
}

/// Whether the same thing asked again may well go through.
pub(super) fn is_passing(error: &Error) -> bool {
    is_lost(error) || code_of(error).is_some_and(|code| IN_THE_WAY.contains(&code.as_str()))
}

fn code_of(error: &Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_broken_connection_is_lost_and_a_full_pool_is_not() {
        let broken = || Error::Io(io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(is_lost(&broken()) && is_passing(&broken()));
        for error in [Error::PoolTimedOut, Error::PoolClosed, Error::RowNotFound] {
            assert!(!is_lost(&error) && !is_passing(&error), "{error}");
        }
    }

    #[test]
    fn what_does_not_read_back_is_damage() {
        let damaged = MetadataError::from(Error::Decode("a negative size".into()));
        assert!(matches!(damaged, MetadataError::Damaged(_)));
        assert!(matches!(MetadataError::from(Error::PoolTimedOut), MetadataError::Unavailable(_)));
    }
}
