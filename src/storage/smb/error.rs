//! What can go wrong with the server, and what follows from it: whether to try again on another connection,
//! and which storage error it is. Nothing in it holds a password.

use smb2::{ErrorKind, types::status::NtStatus};

use super::StorageError;

/// Statuses that the library has no name for.
const FULL: [NtStatus; 3] = [
    NtStatus(0xC000_007F), // STATUS_DISK_FULL
    NtStatus(0xC000_0044), // STATUS_QUOTA_EXCEEDED
    NtStatus(0xC000_0802), // STATUS_DISK_QUOTA_EXCEEDED
];

/// Why the server could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum SmbError {
    /// The settings lead to no session.
    #[error("{0}")]
    Settings(&'static str),
    /// Nothing answers at the address.
    #[error("could not reach the file server {address}")]
    Unreachable {
        address: String,
        #[source]
        source: smb2::Error,
    },
    /// The server took longer than it may.
    #[error("the file server did not answer in time")]
    Late,
    /// The user or the password was refused.
    #[error("the file server refused the sign-in")]
    SignIn(#[source] smb2::Error),
    /// There is no such share, or it is not for this user.
    #[error("the file server refused the share {share}")]
    Share {
        share: String,
        #[source]
        source: smb2::Error,
    },
    /// An SMB 2 server.
    #[error("the file server speaks no SMB 3")]
    Dialect,
    /// A session that anybody on the way could change.
    #[error("the session is neither signed nor encrypted")]
    Unprotected,
    /// A session that anybody on the way could read.
    #[error("the session is not encrypted although encryption is required")]
    NotEncrypted,
    /// What was asked failed.
    #[error(transparent)]
    Request(#[from] smb2::Error),
    /// The server took fewer bytes than it was sent.
    #[error("the file server wrote {written} of {sent} bytes")]
    ShortWrite { written: u32, sent: usize },
    /// The server gave fewer bytes than the file has.
    #[error("the file is shorter than it was")]
    ShortRead,
    /// A reply was lost, and what is there now is neither what was before nor what should be.
    #[error("a reply was lost, and the staging file with it")]
    Lost,
    /// A task of ours ended before its time.
    #[error("a task was stopped")]
    Stopped(#[from] tokio::task::JoinError),
}

impl SmbError {
    fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Request(error) => Some(error.kind()),
            _ => None,
        }
    }

    fn status(&self) -> Option<NtStatus> {
        match self {
            Self::Request(error) => error.status(),
            _ => None,
        }
    }

    /// The session is of no use any more; whether the request took place is unknown. A refusal that is not
    /// signed counts, too: that is how a server answers in a session that it has ended.
    pub(super) fn is_lost(&self) -> bool {
        matches!(
            self.kind(),
            Some(
                ErrorKind::ConnectionLost
                    | ErrorKind::TimedOut
                    | ErrorKind::SessionExpired
                    | ErrorKind::SignatureInvalid
            )
        )
    }

    /// Nothing has this name. A file that goes with its last reader has none, either.
    pub(super) fn is_missing(&self) -> bool {
        self.kind() == Some(ErrorKind::NotFound) || self.status() == Some(NtStatus::DELETE_PENDING)
    }

    pub(super) fn is_taken(&self) -> bool {
        self.kind() == Some(ErrorKind::AlreadyExists)
    }

    pub(super) fn is_shared(&self) -> bool {
        self.kind() == Some(ErrorKind::SharingViolation)
    }

    pub(super) fn is_full(&self) -> bool {
        self.status().is_some_and(|status| FULL.contains(&status))
    }

    /// The server answered, and does not do such a thing.
    pub(super) fn is_unsupported(&self) -> bool {
        matches!(self.kind(), Some(ErrorKind::Unsupported | ErrorKind::AccessDenied))
            || self.status() == Some(NtStatus::INVALID_PARAMETER)
    }
}

/// Turns an error met while trying to `action` into a storage error.
pub(super) fn failure(action: &'static str) -> impl FnOnce(SmbError) -> StorageError {
    move |source| {
        if source.is_full() {
            StorageError::Full { action, source: source.into() }
        } else {
            StorageError::Unavailable { action, source: source.into() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smb2::types::Command;

    fn refused(status: u32) -> SmbError {
        smb2::Error::Protocol { status: NtStatus(status), command: Command::Write }.into()
    }

    #[test]
    fn a_full_disk_and_a_used_up_quota_are_full() {
        for status in [0xC000_007F, 0xC000_0044, 0xC000_0802] {
            let error = failure("write a blob")(refused(status));
            assert!(matches!(error, StorageError::Full { .. }), "{status:x}");
        }
        let error = failure("write a blob")(refused(0xC000_0022));
        assert!(matches!(error, StorageError::Unavailable { .. }));
    }

    #[test]
    fn only_a_lost_session_is_worth_another_one() {
        for lost in [smb2::Error::Disconnected, smb2::Error::Timeout, smb2::Error::SessionExpired] {
            assert!(SmbError::from(lost).is_lost());
        }
        assert!(!refused(0xC000_007F).is_lost());
        assert!(!SmbError::NotEncrypted.is_lost());
    }

    #[test]
    fn a_file_that_waits_for_its_last_reader_is_missing() {
        assert!(refused(0xC000_0056).is_missing());
        assert!(refused(0xC000_0034).is_missing());
        assert!(!refused(0xC000_0022).is_missing());
    }
}
