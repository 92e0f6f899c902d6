//! Listing and deleting files.

mod page_token;

use super::{FileService, Result, ServiceError};
use crate::{
    file::{id::FileId, user::UserId},
    metadata::{FileRecord, ListPosition, ListQuery, Orphan},
};

/// Files in a page whose request names no size.
pub const PAGE_SIZE_DEFAULT: usize = 50;
/// Most files in a page.
pub const PAGE_SIZE_MAX: usize = 1000;

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
}

impl FileService {
    /// One page of a user's files, newest first. `token` must be one that the page before gave.
    pub async fn list(&self, user_id: &UserId, size: usize, token: Option<&str>) -> Result<Page> {
        let keys = self.signer.keys();
        let after = token.map(|token| page_token::read(keys, user_id, token)).transpose()?;
        let size = size.clamp(1, PAGE_SIZE_MAX);
        let query = ListQuery {
            user_id: user_id.clone(),
            after,
            // One more than the page tells whether there is another.
            limit: size + 1,
        };
        let mut records = self.repository.list(&query).await?;
        let more = records.len() > size;
        records.truncate(size);
        let last = records.last().filter(|_| more);
        let position = last.map(|record| ListPosition::from(&record.file));
        Ok(Page {
            next_token: position.map(|position| page_token::write(keys, user_id, position)),
            records,
        })
    }

    /// Deletes a file: its record first, which ends every link at once, then its bytes. `None` where there
    /// was none and that is allowed.
    pub async fn delete(&self, deletion: Deletion) -> Result<Option<FileRecord>> {
        match self.retire(&deletion).await {
            Ok(record) => {
                // The file is gone already for every caller.
                self.discard(&Orphan { file_id: record.file.id, blob_key: record.blob_key }).await;
                Ok(Some(record))
            }
            Err(ServiceError::FileNotFound) if deletion.allow_missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn retire(&self, deletion: &Deletion) -> Result<FileRecord> {
        let Deletion { file_id, etag, .. } = deletion;
        self.get(file_id, deletion.owner.as_ref()).await?;
        let retired = self.repository.retire(file_id, etag.as_deref()).await?;
        retired.ok_or(ServiceError::FileNotFound)
    }
}
