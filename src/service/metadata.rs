//! Listing, changing, deleting and undeleting files, and what their owners store.

mod page_token;

use std::time::Duration;

use super::{FileService, Result, ServiceError};
pub use crate::metadata::{Association, FileFilter, FileUpdate, MediaTypePattern};
use crate::{
    clock::Timestamp,
    error::FieldError,
    file::{
        File,
        id::FileId,
        name::FileName,
        usage::{Quota, Usage},
        user::UserId,
    },
    metadata::{self, FileRecord, ListPosition, ListQuery, Orphan},
};

/// Files in a page whose request names no size.
pub const PAGE_SIZE_DEFAULT: usize = 50;
/// Most files in a page.
pub const PAGE_SIZE_MAX: usize = 1000;
/// A page ends early where its files come to more than this: an answer must stay below the 4 MiB that gRPC
/// clients take by default.
const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Files read at a time.
const PAGE_PART: usize = 100;
/// What a file takes in an answer beside what its owner can make large.
const ANSWER_BYTES_FIXED: usize = 256;
/// Longest life of a file that can be asked for: a thousand years.
pub const TTL_MAX: Duration = Duration::from_secs(1000 * 365 * 24 * 3600);

/// Which of a user's files to list.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The owner.
    pub user_id: UserId,
    /// Which of them.
    pub filter: FileFilter,
    /// Whether soft-deleted files are among them.
    pub show_deleted: bool,
    /// Most files in the page.
    pub size: usize,
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Page {
    /// The files, newest first.
    pub records: Vec<FileRecord>,
    /// Where the next page begins; `None` on the last one.
    pub next_token: Option<String>,
}

/// Which file to delete, and on what condition.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// The file.
    pub file_id: FileId,
    /// On whose behalf; see [`FileService::get`].
    pub owner: Option<UserId>,
    /// Delete only while the etag is this one.
    pub etag: Option<String>,
    /// Whether no file is as good as a deleted one.
    pub allow_missing: bool,
    /// Even while it is referenced.
    pub force: bool,
    /// For good, without a time in which it can be undeleted; a soft-deleted file, too.
    pub purge: bool,
}

/// What a user stores and may store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// What is stored.
    pub usage: Usage,
    /// What may be.
    pub quota: Quota,
}

impl FileService {
    /// One page of a user's files, newest first. `token` must be one that the page before gave for the same
    /// listing.
    pub async fn list(&self, listing: Listing, token: Option<&str>) -> Result<Page> {
        let scope = page_token::Scope::of(&listing);
        let keys = self.signer.keys();
        let after = token.map(|token| page_token::read(keys, &scope, token)).transpose()?;
        let size = listing.size.clamp(1, PAGE_SIZE_MAX);
        let mut query = ListQuery {
            user_id: listing.user_id,
            filter: listing.filter,
            show_deleted: listing.show_deleted,
            after,
            limit: 0,
        };
        let (mut records, mut bytes, mut more) = (Vec::new(), 0, true);
        while more && records.len() < size && bytes < PAGE_BYTES_MAX {
            // A part at a time bounds what records of the largest kind take. One more than is wanted tells
            // whether there is another.
            let wanted = (size - records.len()).min(PAGE_PART);
            query.limit = wanted + 1;
            let mut part = self.repository.list(&query).await?;
            more = part.len() > wanted;
            part.truncate(wanted);
            for record in part {
                if !records.is_empty() && bytes >= PAGE_BYTES_MAX {
                    more = true;
                    break;
                }
                bytes += ANSWER_BYTES_FIXED + record.file.variable_bytes();
                query.after = Some(ListPosition::from(&record.file));
                records.push(record);
            }
        }
        let last = records.last().filter(|_| more);
        let position = last.map(|record| ListPosition::from(&record.file));
        Ok(Page {
            next_token: position.map(|position| page_token::write(keys, &scope, position)),
            records,
        })
    }

    /// Changes a visible file's metadata.
    pub async fn update(
        &self,
        file_id: &FileId,
        owner: Option<&UserId>,
        update: FileUpdate,
    ) -> Result<FileRecord> {
        let record = self.get(file_id, owner).await?;
        if let Some(name) = &update.name {
            self.check_same_type(&record.file, name)?;
        }
        if let Some(Some(expire_time)) = update.expire_time {
            check_expiry(expire_time, self.clock.now())?;
        }
        let updated = self.repository.update(file_id, update).await?;
        updated.ok_or(ServiceError::FileNotFound)
    }

    /// What the content was checked against when it came in stays true.
    fn check_same_type(&self, file: &File, name: &FileName) -> Result<()> {
        let same = self.policy.types.decide(name).is_ok_and(|decided| decided == file.media_type);
        if same {
            return Ok(());
        }
        let problem = format!("must have an extension of the type {}", file.media_type.as_str());
        Err(FieldError::unsupported("file.filename", problem).into())
    }

    /// Deletes a file, softly unless it is to be purged or its purpose has no grace; its links end at once.
    /// `None` where there was none and that is allowed.
    pub async fn delete(&self, deletion: Deletion) -> Result<Option<FileRecord>> {
        match self.remove(&deletion).await {
            Ok(record) => Ok(Some(record)),
            Err(ServiceError::FileNotFound) if deletion.allow_missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn remove(&self, deletion: &Deletion) -> Result<FileRecord> {
        let (file_id, owner) = (&deletion.file_id, deletion.owner.as_ref());
        let found = match deletion.purge {
            true => self.get_even_deleted(file_id, owner).await?,
            false => self.get(file_id, owner).await?,
        };
        let grace = match deletion.purge {
            true => Duration::ZERO,
            false => self.policy.grace.of(&found.file.purpose),
        };
        let (etag, force) = (deletion.etag.clone(), deletion.force);
        let removed =
            self.repository.delete(file_id, metadata::Deletion { etag, force, grace }).await?;
        let record = removed.ok_or(ServiceError::FileNotFound)?;
        if grace.is_zero() {
            // The file is gone already for every caller.
            self.discard(&Orphan { file_id: *file_id, blob_key: record.blob_key }).await;
        }
        Ok(record)
    }

    /// Makes a soft-deleted file visible again. Links made before work again, for as long as they live.
    pub async fn undelete(&self, file_id: &FileId, owner: Option<&UserId>) -> Result<FileRecord> {
        self.get_even_deleted(file_id, owner).await?;
        let undeleted = self.repository.undelete(file_id).await?;
        undeleted.ok_or(ServiceError::FileNotFound)
    }

    /// What a user stores and may store.
    pub async fn account(&self, user_id: &UserId) -> Result<Account> {
        let usage = self.repository.usage(user_id).await?;
        Ok(Account { usage, quota: self.policy.quotas.of(user_id) })
    }
}

fn check_expiry(expire_time: Timestamp, now: Timestamp) -> std::result::Result<(), FieldError> {
    let refuse = |problem: &str| Err(FieldError::new("file.expire_time", problem));
    if expire_time <= now {
        return refuse("must be in the future");
    }
    if expire_time > now.plus(TTL_MAX) {
        return refuse("must be at most 1000 years ahead");
    }
    Ok(())
}
