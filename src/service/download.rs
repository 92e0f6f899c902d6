//! Giving content out: from a visible record to an open blob.

use std::{sync::Arc, time::Duration};

use url::Url;

use super::{FileService, Result, ServiceError};
use crate::{
    error::FieldError,
    file::{id::FileId, user::UserId},
    metadata::FileRecord,
    storage::{Blob, ByteRange, PresignedAnswer, StorageError},
};

/// The part of a file that a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadWindow {
    /// First byte; negative: that many bytes from the end.
    pub offset: i64,
    /// Most bytes; 0: to the end.
    pub limit: i64,
}

impl ReadWindow {
    /// The range of a content of `size_bytes`. A suffix longer than the content is all of it.
    pub fn range(self, size_bytes: u64) -> std::result::Result<ByteRange, FieldError> {
        let offset = match u64::try_from(self.offset) {
            Ok(offset) => offset,
            Err(_) => size_bytes.saturating_sub(self.offset.unsigned_abs()),
        };
        if offset > size_bytes {
            let problem = format!("must be at most the file's {size_bytes} bytes");
            return Err(FieldError::new("read_offset", problem));
        }
        let left = size_bytes - offset;
        let len = match u64::try_from(self.limit) {
            Err(_) => return Err(FieldError::new("read_limit", "must not be negative")),
            Ok(0) => left,
            Ok(limit) => limit.min(left),
        };
        Ok(ByteRange { offset, len })
    }
}

impl FileService {
    /// The file that the owner may see, with the part of its content that was asked for, open.
    pub async fn download(
        &self,
        file_id: &FileId,
        owner: Option<&UserId>,
        window: ReadWindow,
    ) -> Result<(Arc<FileRecord>, Blob)> {
        let record = self.get(file_id, owner).await?;
        let range = window.range(record.file.content.size_bytes)?;
        let blob = self.open_content(&record, range).await?;
        Ok((record, blob))
    }

    /// Opens a range of a file's content; the range must lie within it.
    pub async fn open_content(&self, record: &FileRecord, range: ByteRange) -> Result<Blob> {
        refuse_damaged(record)?;
        match self.storage.open(&record.blob_key, range).await {
            Err(error @ StorageError::Missing(_)) => {
                // Deleted since it was found, or our loss.
                let found = self.repository.find_now(&record.file.id).await?;
                let visible = found.is_some_and(|record| record.is_visible(self.clock.now()));
                Err(if visible { error.into() } else { ServiceError::FileNotFound })
            }
            opened => Ok(opened?),
        }
    }
}

impl FileService {
    /// A URL at which a file's content can be read straight from the storage for `life`, with these headers;
    /// `None` where the storage gives out none.
    pub async fn presign_content(
        &self,
        record: &FileRecord,
        answer: &PresignedAnswer,
        life: Duration,
    ) -> Result<Option<Url>> {
        refuse_damaged(record)?;
        Ok(self.storage.presign(&record.blob_key, answer, life).await?)
    }
}

/// Content that was found damaged is not given out.
pub(super) fn refuse_damaged(record: &FileRecord) -> Result<()> {
    match record.quarantined {
        true => Err(ServiceError::Quarantined(record.file.id)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(offset: i64, limit: i64) -> Option<(u64, u64)> {
        let range = ReadWindow { offset, limit }.range(10).ok()?;
        Some((range.offset, range.len))
    }

    #[test]
    fn windows_are_cut_to_the_content() {
        assert_eq!(range(0, 0), Some((0, 10)));
        assert_eq!(range(3, 4), Some((3, 4)));
        assert_eq!(range(3, 100), Some((3, 7)));
        assert_eq!(range(10, 0), Some((10, 0)));
        assert_eq!(range(-4, 0), Some((6, 4)));
        assert_eq!(range(-4, 2), Some((6, 2)));
        assert_eq!(range(-40, 0), Some((0, 10)));
        assert_eq!(range(i64::MIN, i64::MAX), Some((0, 10)));
    }

    #[test]
    fn windows_outside_the_content_are_refused() {
        assert_eq!(range(11, 0), None);
        assert_eq!(range(0, -1), None);
    }
}
