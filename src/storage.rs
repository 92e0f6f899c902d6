//! Where blobs rest. The trait knows no backend, no user and no file: only keys and bytes.

pub mod limit;
pub mod local;
pub mod memory;
pub mod open;
pub mod owned;
pub mod probe;
mod read;
pub mod s3;
pub mod smb;

use std::{error::Error as StdError, fmt, fs::File, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use crate::{blob::BlobKey, error::ErrorCode};

pub use read::{BlobStream, RemoteBytes};

/// What storage operations return.
pub type Result<T> = std::result::Result<T, StorageError>;

/// Why a storage operation failed; none of them is worth repeating within the same call.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No blob has this key.
    #[error("blob {0} is missing")]
    Missing(BlobKey),
    /// Fewer bytes are stored than were committed.
    #[error("blob {0} is shorter than it was")]
    Truncated(BlobKey),
    /// The storage bears another database's mark: nothing in it is removed.
    #[error(
        "the storage belongs to the database {owner}, not to this one; nothing in it is removed"
    )]
    Foreign {
        /// Whose it is.
        owner: Uuid,
    },
    /// A blob with this key is there already; keys are never used twice.
    #[error("blob {0} exists already")]
    Exists(BlobKey),
    /// Another writer is still at the blob; it lets go of it sooner or later.
    #[error("blob {0} is still being written by another writer")]
    Held(BlobKey),
    /// The backend has no space left.
    #[error("no space left while trying to {action}")]
    Full {
        /// What was tried.
        action: &'static str,
        /// What the backend said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The backend failed or cannot be reached.
    #[error("could not {action}")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// What the backend said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl StorageError {
    /// The row of the error table.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Missing(_) | Self::Truncated(_) => ErrorCode::ContentDamaged,
            Self::Exists(_) | Self::Foreign { .. } => ErrorCode::Internal,
            Self::Full { .. } => ErrorCode::StorageFull,
            Self::Unavailable { .. } | Self::Held(_) => ErrorCode::StorageUnavailable,
        }
    }
}

/// A part of a blob: `len` bytes from `offset` on. It must lie within the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte, counted from 0.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

impl ByteRange {
    /// All of a blob of `size_bytes`.
    pub const fn whole(size_bytes: u64) -> Self {
        Self { offset: 0, len: size_bytes }
    }

    /// The first byte after the range.
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// Refuses a range that passes the end of a blob of `size_bytes`.
    fn check_within(self, size_bytes: u64, key: &BlobKey) -> Result<()> {
        if self.end() > size_bytes {
            return Err(StorageError::Truncated(*key));
        }
        Ok(())
    }
}

/// A part of a blob, opened for reading.
#[derive(Debug)]
pub enum Blob {
    /// The bytes themselves.
    Bytes(Bytes),
    /// A range of an open file, to be read where it is sent.
    File {
        /// The open file.
        file: Arc<File>,
        /// The key, for errors.
        key: BlobKey,
        /// What to read of it.
        range: ByteRange,
    },
    /// Bytes that come from elsewhere, as fast as they are asked for.
    Remote(RemoteBytes),
}

impl Blob {
    /// A range of a content that is in memory; [`StorageError::Truncated`] where it passes its end.
    fn of_memory(content: &Bytes, key: &BlobKey, range: ByteRange) -> Result<Self> {
        range.check_within(content.len() as u64, key)?;
        Ok(Self::Bytes(content.slice(range.offset as usize..range.end() as usize)))
    }

    /// The bytes in pieces of at most `piece_bytes`. The stream ends cleanly only after the last byte.
    pub fn into_stream(self, piece_bytes: usize) -> BlobStream {
        BlobStream::new(self, piece_bytes)
    }
}

/// One blob in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobEntry {
    /// Its key.
    pub key: BlobKey,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// How long ago it was last written to, by the backend's clock.
    pub age: Duration,
}

/// How far an unfinished blob is durable, and what its backend needs to go on from there, in whatever process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Bytes that are durable, from the first on.
    pub size_bytes: u64,
    /// The backend's own notes; nobody else reads them.
    pub notes: String,
}

impl Checkpoint {
    /// Of a backend that needs no notes; `None` where nothing is durable.
    fn plain(size_bytes: u64) -> Option<Self> {
        (size_bytes > 0).then(|| Self { size_bytes, notes: String::new() })
    }
}

/// The headers that a backend answers a presigned URL with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignedAnswer {
    /// Content-Type.
    pub content_type: String,
    /// Content-Disposition.
    pub content_disposition: String,
    /// Cache-Control.
    pub cache_control: String,
}

/// Most entries in one page of [`Storage::list`].
pub const LIST_PAGE: usize = 1000;

/// A place where blobs rest.
#[async_trait]
pub trait Storage: fmt::Debug + Send + Sync {
    /// Begins a blob. Nothing of it is visible until it is committed.
    async fn create(&self, key: &BlobKey) -> Result<Box<dyn BlobWriter>>;

    /// Goes on with an unfinished blob from `at`, which its last writer gave; what was written beyond it counts
    /// for nothing. Nothing changes before the first write: whoever comes too late has done no harm by it.
    /// [`StorageError::Held`] while another writer is still at it, and [`StorageError::Missing`] where
    /// it cannot be gone on with any more, be it because it is committed.
    async fn resume(&self, key: &BlobKey, at: &Checkpoint) -> Result<Box<dyn BlobWriter>>;

    /// Opens a range of a committed blob; [`StorageError::Missing`] where there is none, and
    /// [`StorageError::Truncated`] where the range passes its end.
    async fn open(&self, key: &BlobKey, range: ByteRange) -> Result<Blob>;

    /// A committed blob's size in bytes; [`StorageError::Missing`] where there is none.
    async fn size(&self, key: &BlobKey) -> Result<u64>;

    /// Removes a blob and whatever an unfinished writer of it left behind, durably. An absent blob counts
    /// as deleted.
    async fn delete(&self, key: &BlobKey) -> Result<()>;

    /// Committed blobs in the order of their keys, from the first after `after` on, at most [`LIST_PAGE`].
    /// An empty page is the end.
    async fn list(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>>;

    /// What unfinished writers left behind, or are still at, in the same order and pages.
    async fn list_unfinished(&self, after: Option<&BlobKey>) -> Result<Vec<BlobEntry>>;

    /// Removes beginnings of a committed blob that nothing was written to, as a request that was sent twice can
    /// leave behind. What bytes were written to stays: a store may keep the blob itself by them. Backends where a
    /// blob can have no such thing do nothing.
    async fn discard_unfinished(&self, _key: &BlobKey) -> Result<()> {
        Ok(())
    }

    /// The mark that says whose the storage is; `None` where it bears none yet.
    async fn owner(&self) -> Result<Option<Uuid>>;

    /// Marks the storage as belonging to `owner`, unless it bears a mark already; answers the mark that it
    /// bears, durably, from then on.
    async fn mark(&self, owner: Uuid) -> Result<Uuid>;

    /// A URL from which whoever holds it can read the blob for `life`, answered with the headers of `answer`;
    /// `None` where the backend gives out none. Nothing is looked up: an absent blob has a URL, too.
    async fn presign(
        &self,
        _key: &BlobKey,
        _answer: &PresignedAnswer,
        _life: Duration,
    ) -> Result<Option<Url>> {
        Ok(None)
    }

    /// Whether the backend can be trusted with writes now.
    async fn check(&self) -> Result<()>;

    /// Cancelled when the backend has failed in a way that only a restart mends: the process must end.
    fn failed(&self) -> CancellationToken {
        CancellationToken::new()
    }
}

/// Takes one blob's bytes in order. Dropped without an end, it leaves at most what [`Storage::delete`]
/// removes.
#[async_trait]
pub trait BlobWriter: Send {
    /// Appends `chunks`. They may still be on their way to the backend when this returns; a failure then
    /// shows in a later call.
    async fn write(&mut self, chunks: Vec<Bytes>) -> Result<()>;

    /// How far the blob is durable by now; `None` while nothing is. Does not wait for it: what has been written
    /// is on its way to be durable from now on, and shows in a later call.
    async fn checkpoint(&mut self) -> Result<Option<Checkpoint>>;

    /// The sizes that checkpoints can have, beside those that the blob had when one was asked for: multiples of
    /// this many bytes.
    fn checkpoint_grain(&self) -> Option<u64> {
        None
    }

    /// Ends the writing, and leaves the blob to be resumed, with all of it durable that can be before it is
    /// committed. `None`: nothing is, and nothing is left.
    async fn suspend(self: Box<Self>) -> Result<Option<Checkpoint>>;

    /// Makes the blob whole, durable and visible, or fails; after a failure [`Storage::delete`] cleans up.
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Gives the blob up and removes what was written.
    async fn abort(self: Box<Self>) -> Result<()>;
}
