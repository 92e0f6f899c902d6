//! Records of files and uploads. The trait knows no database, and nothing of bytes but where they rest.

pub mod cached;
pub mod memory;
pub mod open;
pub mod sqlite;
mod start;

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::{
    blob::BlobKey,
    clock::Timestamp,
    error::ErrorCode,
    file::{Content, File, FileSpec, id::FileId, user::UserId},
};

pub use start::start_digest;

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
    /// The file has changed since the etag was read.
    #[error("etag: the file has changed since")]
    EtagMismatch,
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
    /// The row of the error table.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UploadConflict => ErrorCode::UploadConflict,
            Self::UploadTakenOver => ErrorCode::UploadTakenOver,
            Self::EtagMismatch => ErrorCode::EtagMismatch,
            Self::Full(_) => ErrorCode::StorageFull,
            Self::Unavailable(_) => ErrorCode::StorageUnavailable,
            Self::Damaged(_) => ErrorCode::Internal,
        }
    }
}

/// A finished file and where its bytes rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// What the owner sees.
    pub file: File,
    /// Where the bytes rest.
    pub blob_key: BlobKey,
}

impl FileRecord {
    /// The predicate that every path uses: whether the file can be seen at `now`.
    pub fn is_visible(&self, now: Timestamp) -> bool {
        self.file.expire_time.is_none_or(|expires| now < expires)
    }
}

/// The wish to upload a file, before its first byte.
#[derive(Clone, Debug)]
pub struct Intent {
    /// The id the file will have.
    pub file_id: FileId,
    /// Where its bytes will rest; never used before.
    pub blob_key: BlobKey,
    /// What the client said.
    pub spec: FileSpec,
    /// How long the upload may go on without being renewed.
    pub lease: Duration,
}

/// What became of an intent.
#[derive(Clone, Debug)]
pub enum Intended {
    /// A record awaits the bytes; whoever holds the ticket may publish it.
    Begun(UploadTicket),
    /// The same upload was finished before.
    Finished(Box<FileRecord>),
}

/// The right to publish one upload, for as long as nobody raises its fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadTicket {
    /// The record.
    pub file_id: FileId,
    /// Where its bytes rest.
    pub blob_key: BlobKey,
    /// The number the record must still carry.
    pub fence: u64,
}

/// A page of a user's files.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The owner.
    pub user_id: UserId,
    /// The last file of the page before; `None`: from the newest on.
    pub after: Option<ListPosition>,
    /// Most files in the page.
    pub limit: usize,
}

/// A file's place in a listing, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPosition {
    /// When the file was created.
    pub create_time: Timestamp,
    /// Its id, which orders files created in the same microsecond.
    pub file_id: FileId,
}

impl From<&File> for ListPosition {
    fn from(file: &File) -> Self {
        Self { create_time: file.create_time, file_id: file.id }
    }
}

/// A record whose bytes nobody will publish or read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The record.
    pub file_id: FileId,
    /// The bytes to remove.
    pub blob_key: BlobKey,
}

/// Keeps the records. Every change is durable when its call returns, and every move of a record from one
/// state to another is a compare-and-set.
#[async_trait]
pub trait FileRepository: fmt::Debug + Send + Sync {
    /// Notes an upload before its first byte. An unfinished upload with the same owner and `upload_id` is
    /// given up in favour of this one; a finished one is returned while its file is visible.
    /// [`MetadataError::UploadConflict`] where the one found had another start.
    async fn intend(&self, intent: Intent) -> Result<Intended>;

    /// Lengthens the lease to `lease` from now; [`MetadataError::UploadTakenOver`] where it is lost.
    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Result<()>;

    /// Makes the upload a file; [`MetadataError::UploadTakenOver`] where it is no longer the ticket's.
    async fn publish(&self, ticket: &UploadTicket, content: Content) -> Result<FileRecord>;

    /// Gives the upload up and tells whether its bytes may now be removed: `false` where it is no longer the
    /// ticket's, be it published or taken over.
    async fn abandon(&self, ticket: &UploadTicket) -> Result<bool>;

    /// The finished file with this id, whether or not it can still be seen: ask
    /// [`FileRecord::is_visible`].
    async fn find(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>>;

    /// A user's visible files, newest first.
    async fn list(&self, query: &ListQuery) -> Result<Vec<FileRecord>>;

    /// Raises the epoch of the file's links, which ends them all; `None` where there is no such file.
    async fn raise_link_epoch(&self, file_id: &FileId) -> Result<Option<FileRecord>>;

    /// Makes a file invisible for ever, so that its bytes may be removed; `None` where there is no such
    /// file. With an `etag`, only the file as it was then.
    async fn retire(&self, file_id: &FileId, etag: Option<&str>) -> Result<Option<FileRecord>>;

    /// Takes up to `limit` records over whose bytes nobody needs: given up, deleted, expired, or with a lease
    /// that has ended. From then on no ticket can publish them.
    async fn claim_orphans(&self, limit: usize) -> Result<Vec<Orphan>>;

    /// Removes the record of bytes that have been removed.
    async fn forget(&self, file_id: &FileId) -> Result<()>;

    /// Whether the database answers.
    async fn check(&self) -> Result<()>;

    /// Cancelled when the database has failed in a way that only a restart mends: the process must end.
    fn failed(&self) -> CancellationToken {
        CancellationToken::new()
    }
}
