//! What goes into a database and comes out of it: records, intents, changes.

use std::{collections::BTreeMap, time::Duration};

use super::{MetadataError, Result};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{
        Content, File, FileSpec,
        id::FileId,
        labels::Labels,
        name::FileName,
        purpose::Purpose,
        reference::Reference,
        usage::{Quota, Usage},
        user::UserId,
    },
};

/// A finished file and where its bytes rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// What the owner sees.
    pub file: File,
    /// Where the bytes rest.
    pub blob_key: BlobKey,
    /// Whether the bytes were found damaged: they are not given out until they are found whole again.
    pub quarantined: bool,
}

impl FileRecord {
    /// The predicate that every path uses: whether the file can be seen at `now`.
    pub fn is_visible(&self, now: Timestamp) -> bool {
        self.file.delete_time.is_none() && !self.has_expired(now)
    }

    /// Whether the file is soft-deleted and can be undeleted at `now`.
    pub fn is_recoverable(&self, now: Timestamp) -> bool {
        let kept = self.file.purge_time.is_some_and(|purged| now < purged);
        self.file.delete_time.is_some() && kept && !self.has_expired(now)
    }

    /// Whether the file lived for references alone and has none any more.
    pub(super) fn is_unneeded(&self) -> bool {
        self.file.delete_when_unreferenced && self.file.references.is_empty()
    }

    /// Refuses an etag other than the file's own, where one is asked for.
    pub(super) fn check_etag(&self, etag: Option<&str>) -> Result<()> {
        match etag {
            Some(etag) if etag != self.file.etag() => Err(MetadataError::EtagMismatch),
            _ => Ok(()),
        }
    }

    /// Refuses to delete what has changed since, or what is referenced and not forced.
    pub(super) fn check_deletion(&self, deletion: &Deletion) -> Result<()> {
        self.check_etag(deletion.etag.as_deref())?;
        match self.file.references.is_empty() || deletion.force {
            true => Ok(()),
            false => Err(MetadataError::Referenced),
        }
    }

    /// Whether `deletion` can take the file at `now`: a visible one, and for good a soft-deleted one, too.
    pub(super) fn can_be_deleted(&self, deletion: &Deletion, now: Timestamp) -> bool {
        self.is_visible(now) || (deletion.grace.is_zero() && self.is_recoverable(now))
    }

    /// Whether anybody can still see the file at `now`, be it by undeleting it.
    pub fn is_kept(&self, now: Timestamp) -> bool {
        self.is_visible(now) || self.is_recoverable(now)
    }

    fn has_expired(&self, now: Timestamp) -> bool {
        self.file.expire_time.is_some_and(|expires| expires <= now)
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
    /// What the owner may store.
    pub quota: Quota,
    /// Where the data begins: at most as much as is durable.
    pub offset: u64,
}

/// What became of an intent.
#[derive(Clone, Debug)]
pub enum Intended {
    /// A record awaits the bytes; whoever holds the ticket may publish it.
    Begun(UploadTicket),
    /// The same upload is unfinished; from now on it is the new ticket's alone.
    Resumed(Box<Resumption>),
    /// The same upload was finished before.
    Finished(Box<FileRecord>),
}

/// An unfinished upload that changes hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// The right to go on with it, and to publish it.
    pub ticket: UploadTicket,
    /// What of it is durable.
    pub progress: Progress,
    /// What its content is, where all of it had arrived: its blob may be committed already.
    pub sealed: Option<Content>,
}

/// How much of an unfinished upload is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes from the first on; never 0.
    pub persisted_size_bytes: u64,
    /// What it takes to go on from there; opaque here.
    pub state: String,
}

impl Progress {
    /// Refuses data that begins beyond what is durable.
    pub(super) const fn check_offset(&self, offset: u64) -> Result<()> {
        let persisted_size_bytes = self.persisted_size_bytes;
        if offset > persisted_size_bytes {
            return Err(MetadataError::OffsetMismatch { persisted_size_bytes });
        }
        Ok(())
    }
}

/// What is known of an upload by its upload_id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadStatus {
    /// It can be gone on with.
    Unfinished {
        /// Bytes that are durable.
        persisted_size_bytes: u64,
        /// When it is given up, unless it goes on.
        expire_time: Timestamp,
    },
    /// It has become a file that can be seen.
    Finished(Box<FileRecord>),
    /// It has become a file that cannot be seen any more, and is still kept.
    Deleted,
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
    /// Bytes set aside for the upload out of its owner's quota; `u64::MAX` where nothing limits it.
    pub reserved_bytes: u64,
}

impl UploadTicket {
    /// What the upload counts for in its owner's usage; `promised` is the length it has promised.
    pub(super) fn set_aside(&self, promised: Option<u64>) -> i64 {
        let bytes = match self.reserved_bytes {
            u64::MAX => promised.unwrap_or(0),
            reserved => reserved,
        };
        i64::try_from(bytes).unwrap_or(i64::MAX)
    }
}

/// How much an upload without a promised length sets aside at a time where its owner's bytes are limited: so
/// that a small one needs no second write.
pub const RESERVATION_STEP_BYTES: u64 = 1024 * 1024;

/// A change of a visible file's metadata; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileUpdate {
    /// Change only while the etag is this one.
    pub etag: Option<String>,
    /// Another name, of the same type.
    pub name: Option<FileName>,
    /// Other labels, in place of all there were.
    pub labels: Option<Labels>,
    /// Another end; within it `None` is none.
    pub expire_time: Option<Option<Timestamp>>,
    /// Whether the file goes with its last reference.
    pub delete_when_unreferenced: Option<bool>,
    /// Raises the epoch of the file's links, which ends them all.
    pub end_links: bool,
}

impl FileUpdate {
    /// Ends every link made for the file so far.
    pub fn ending_links() -> Self {
        Self { end_links: true, ..Self::default() }
    }

    /// Makes the change in `file` at `now`, and a new etag with it.
    pub(super) fn apply(&self, file: &mut File, now: Timestamp) {
        if let Some(name) = &self.name {
            file.name = name.clone();
        }
        if let Some(labels) = &self.labels {
            file.labels = labels.clone();
        }
        if let Some(expire_time) = self.expire_time {
            file.expire_time = expire_time;
        }
        if let Some(own) = self.delete_when_unreferenced {
            file.delete_when_unreferenced = own;
        }
        file.link_epoch += u64::from(self.end_links);
        touch(file, now);
    }
}

/// Marks a file as deleted at `now`, with a new etag; what was deleted before keeps its time. Its bytes go
/// after its grace, and never later than it expires.
pub(super) fn mark_deleted(file: &mut File, grace: Duration, now: Timestamp) {
    let purged = now.plus(grace);
    file.delete_time.get_or_insert(now);
    file.purge_time = Some(file.expire_time.map_or(purged, |expires| purged.min(expires)));
    touch(file, now);
}

/// A change at `now`: a new etag.
pub(super) fn touch(file: &mut File, now: Timestamp) {
    file.revision += 1;
    file.update_time = now;
}

/// How a file is to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    /// Delete only while the etag is this one.
    pub etag: Option<String>,
    /// Even while it is referenced.
    pub force: bool,
    /// How long it can be undeleted; zero: it goes for good, and a soft-deleted one, too.
    pub grace: Duration,
}

/// How long soft-deleted files can be undeleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grace {
    /// For purposes without a grace of their own.
    pub default: Duration,
    /// By purpose.
    pub by_purpose: BTreeMap<String, Duration>,
}

impl Grace {
    /// How long files of this purpose can be undeleted.
    pub fn of(&self, purpose: &Purpose) -> Duration {
        self.by_purpose.get(purpose.as_str()).copied().unwrap_or(self.default)
    }
}

/// A tie between one reference and some files: all of them, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Association {
    /// On whose behalf: another user's file is missing. `None`: the ids alone decide.
    pub owner: Option<UserId>,
    /// What they belong to.
    pub reference: Reference,
    /// The files.
    pub file_ids: Vec<FileId>,
}

/// What taking references away came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// Files that lost the reference.
    pub detached: Vec<FileId>,
    /// Those among them that lived only for it and went with it.
    pub deleted: Vec<FileId>,
    /// Unfinished, soft-deleted and expired files that lost it, too, and those where another call was faster.
    pub hidden: Vec<FileId>,
}

impl Detached {
    /// Every file that lost the reference, seen or not.
    pub fn untied(&self) -> impl Iterator<Item = &FileId> {
        self.detached.iter().chain(&self.hidden)
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

/// What an upload sets aside when it begins: its promised length, or a first step where the owner's bytes are
/// limited. `held` is what its owner stores and has under way.
pub(super) fn first_reservation(intent: &Intent, held: Usage) -> Result<u64> {
    let quota = intent.quota;
    let left = quota.bytes_left(held);
    let promised = intent.spec.size_bytes;
    if !quota.has_place(held) || promised.is_some_and(|promised| promised > left) {
        return Err(MetadataError::QuotaExceeded { quota, held });
    }
    Ok(match (promised, quota.stored_bytes_max) {
        (_, None) => u64::MAX,
        (Some(promised), Some(_)) => promised,
        (None, Some(_)) => left.min(RESERVATION_STEP_BYTES),
    })
}

/// What an upload that changes hands has set aside.
pub(super) fn resumed_reservation(quota: Quota, reserved_bytes: u64) -> u64 {
    quota.stored_bytes_max.map_or(u64::MAX, |_| reserved_bytes)
}

/// What an upload that has set `own` bytes aside sets aside when it needs `needed` in all: twice what it has,
/// as far as there is room.
pub(super) fn next_reservation(quota: Quota, held: Usage, own: u64, needed: u64) -> Result<u64> {
    let most = own.saturating_add(quota.bytes_left(held));
    if needed > most {
        return Err(MetadataError::QuotaExceeded { quota, held });
    }
    Ok(needed.max(own.saturating_mul(2)).min(most))
}
