//! Records of files and uploads. The traits know no database, and nothing of bytes but where they rest.

pub mod cached;
mod error;
mod json;
mod known;
mod listing;
pub mod memory;
pub mod open;
pub mod postgres;
mod record;
mod select;
pub mod sqlite;
mod start;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{
        Content,
        id::FileId,
        reference::Reference,
        usage::{Quota, Usage},
        user::UserId,
    },
};

pub use error::{MetadataError, Result};
pub use listing::{FileFilter, ListPosition, ListQuery, MediaTypePattern};
pub use record::{
    Association, Deletion, Detached, FileRecord, FileUpdate, Grace, Intended, Intent, Orphan,
    Progress, RESERVATION_STEP_BYTES, Resumption, UploadStatus, UploadTicket,
};
pub use start::start_digest;

/// Keeps the records. Every change is durable when its call returns, and every move of a record from one
/// state to another is a compare-and-set.
#[async_trait]
pub trait FileRepository: fmt::Debug + Send + Sync {
    /// Notes an upload before its first byte, and sets aside what it needs of its owner's quota: the promised
    /// length, or what the ticket says. An unfinished upload with the same owner and `upload_id` goes over to
    /// this one with what is durable of it, or is given up where nothing is; a finished one is returned while
    /// its file is visible. [`MetadataError::UploadConflict`] where the one found had another start,
    /// [`MetadataError::OffsetMismatch`] where the data begins beyond what is durable,
    /// [`MetadataError::QuotaExceeded`] where the owner may store no more.
    async fn intend(&self, intent: Intent) -> Result<Intended>;

    /// Sets at least `needed_bytes` in all aside for the upload, and more for later where there is room;
    /// answers how much is set aside now. [`MetadataError::QuotaExceeded`] where there is no room.
    async fn reserve(&self, ticket: &UploadTicket, needed_bytes: u64, quota: Quota) -> Result<u64>;

    /// Lengthens the lease to `lease` from now; [`MetadataError::UploadTakenOver`] where it is lost.
    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Result<()>;

    /// Notes how much of the upload is durable, which never shrinks, and lengthens the lease to `lease` from
    /// now; [`MetadataError::UploadTakenOver`] where it is no longer the ticket's.
    async fn save(&self, ticket: &UploadTicket, progress: Progress, lease: Duration) -> Result<()>;

    /// Notes that all of the upload's content has arrived, and what it is, before its blob is committed;
    /// [`MetadataError::UploadTakenOver`] where it is no longer the ticket's.
    async fn seal(&self, ticket: &UploadTicket, content: Content) -> Result<()>;

    /// Whether the upload is still the ticket's.
    async fn holds(&self, ticket: &UploadTicket) -> Result<bool>;

    /// What is known of an owner's upload; `None` where there is none, or nothing of it is kept.
    async fn find_upload(&self, user_id: &UserId, upload_id: &Uuid)
    -> Result<Option<UploadStatus>>;

    /// Gives an owner's unfinished upload up, whoever is at it; its bytes may then be removed. `None` where there
    /// is none.
    async fn cancel(&self, user_id: &UserId, upload_id: &Uuid) -> Result<Option<Orphan>>;

    /// Makes the upload a file; [`MetadataError::UploadTakenOver`] where it is no longer the ticket's.
    async fn publish(&self, ticket: &UploadTicket, content: Content) -> Result<FileRecord>;

    /// Gives the upload up and tells whether its bytes may now be removed: `false` where it is no longer the
    /// ticket's, be it published or taken over.
    async fn abandon(&self, ticket: &UploadTicket) -> Result<bool>;

    /// The finished or soft-deleted file with this id, whether or not it can still be seen: ask
    /// [`FileRecord::is_visible`].
    async fn find(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>>;

    /// The same as the database says it now, where a copy at hand would not do.
    async fn find_now(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>> {
        self.find(file_id).await
    }

    /// A page of a user's files, newest first.
    async fn list(&self, query: &ListQuery) -> Result<Vec<FileRecord>>;

    /// Changes a visible file; `None` where there is none.
    async fn update(&self, file_id: &FileId, update: FileUpdate) -> Result<Option<FileRecord>>;

    /// Deletes a visible file, softly where the deletion has a grace; without one it is gone for good, a
    /// soft-deleted one, too, and its bytes may be removed. `None` where there is no such file.
    /// [`MetadataError::Referenced`] where it is referenced and the deletion is not forced.
    async fn delete(&self, file_id: &FileId, deletion: Deletion) -> Result<Option<FileRecord>>;

    /// Makes a soft-deleted file visible again; `None` where there is none that can be.
    /// [`MetadataError::NotDeleted`] where the file is visible.
    async fn undelete(&self, file_id: &FileId) -> Result<Option<FileRecord>>;

    /// Ties visible files to a reference, all or none: [`MetadataError::Missing`] names one that is not
    /// there. A file that is tied already stays as it is.
    async fn attach(&self, association: Association) -> Result<()>;

    /// Unties visible files from a reference, all or none, and softly deletes those that lived only for it.
    /// A file that is not tied to it stays as it is.
    async fn detach(&self, association: Association, grace: Arc<Grace>) -> Result<Detached>;

    /// Unties up to `limit` files of `owner`, or of every user, from a reference that is gone, and softly
    /// deletes those that lived only for it. Unfinished, soft-deleted and expired files lose it, too. Nothing
    /// untied means that nothing is left to untie.
    async fn delete_reference(
        &self,
        owner: Option<&UserId>,
        reference: &Reference,
        grace: Arc<Grace>,
        limit: usize,
    ) -> Result<Detached>;

    /// What a user stores.
    async fn usage(&self, user_id: &UserId) -> Result<Usage>;

    /// Whether the database answers.
    async fn check(&self) -> Result<()>;

    /// Cancelled when the database has failed in a way that only a restart mends: the process must end.
    fn failed(&self) -> CancellationToken {
        CancellationToken::new()
    }
}

/// What keeps records and blobs in step asks of a database.
#[async_trait]
pub trait Upkeep: FileRepository {
    /// The database's own id, made with it and never changed: blobs are marked as belonging to it.
    async fn identity(&self) -> Result<Uuid>;

    /// Takes up to `limit` records over whose bytes nobody needs: given up, deleted for good or past their
    /// purge time, expired, or with a lease that has ended. From then on no ticket can publish them. They are
    /// taken again only after `lease`: no two processes are at one of them, and one whose bytes cannot be
    /// removed holds up none.
    async fn claim_orphans(&self, limit: usize, lease: Duration) -> Result<Vec<Orphan>>;

    /// What [`Upkeep::claim_orphans`] would take over now, untouched.
    async fn list_orphans(&self, limit: usize) -> Result<Vec<Orphan>>;

    /// Removes the record of bytes that have been removed.
    async fn forget(&self, file_id: &FileId) -> Result<()>;

    /// Those of `keys` that no record names.
    async fn unrecorded(&self, keys: &[BlobKey]) -> Result<Vec<BlobKey>>;

    /// Finished and soft-deleted files of every user in the order of their ids, from the first after `after`
    /// on.
    async fn walk(&self, after: Option<&FileId>, limit: usize) -> Result<Vec<FileRecord>>;

    /// Notes whether a file's bytes were found damaged. Neither its etag nor its times change.
    async fn quarantine(&self, file_id: &FileId, damaged: bool) -> Result<()>;

    /// Takes the files whose content was last verified before `before`, longest ago first, up to `limit`. They
    /// are taken again only when `lease` has passed, so that no two processes are at one of them.
    async fn claim_unverified(
        &self,
        before: Timestamp,
        lease: Duration,
        limit: usize,
    ) -> Result<Vec<FileRecord>>;

    /// Notes that a file's content was verified now.
    async fn note_verified(&self, file_id: &FileId) -> Result<()>;

    /// What all users together store.
    async fn totals(&self) -> Result<Usage>;

    /// Users whose counters do not agree with their records; with `repair` the counters are set right.
    async fn check_usage(&self, repair: bool) -> Result<Vec<UserId>>;
}
