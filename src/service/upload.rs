//! Bringing a file in: intend, write, commit, publish, in this order (`docs/architecture.md` says what each
//! crash leaves behind). A call with the `upload_id` of an unfinished upload goes on with it.

mod attempt;
mod begin;
mod keeper;
mod link;
mod pieces;
pub(super) mod running;
mod status;

use std::{sync::Arc, time::Duration};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{FileService, Result, ServiceError};
pub use crate::metadata::UploadStatus;
use crate::{
    file::FileSpec,
    metadata::{Deletion, FileRecord, MetadataError},
};
use begin::Beginning;
pub use link::{UPLOAD_URL_BYTES_MAX, UploadLink, UploadLinkSpec};
pub use pieces::{UploadPart, UploadParts};

/// What a caller says before the bytes.
#[derive(Clone, Debug)]
pub struct UploadRequest {
    /// Of the file.
    pub spec: FileSpec,
    /// Where the data begins: at most as much as is durable of the upload already.
    pub offset: u64,
    /// Most bytes that the file may have; never more than its purpose allows.
    pub bytes_max: u64,
}

impl From<FileSpec> for UploadRequest {
    /// The whole of a file that is as large as its purpose allows.
    fn from(spec: FileSpec) -> Self {
        Self { spec, offset: 0, bytes_max: u64::MAX }
    }
}

/// A place among the uploads that may run at once; free again when it is dropped.
#[derive(Debug)]
pub struct UploadSlot {
    _permit: OwnedSemaphorePermit,
    cut: CancellationToken,
    idle_max: Duration,
}

impl UploadSlot {
    /// Waits for the first message of an upload, as long as a caller may be silent.
    pub async fn first_message<T>(&self, message: impl Future<Output = Result<T>>) -> Result<T> {
        let idle_s = self.idle_max.as_secs();
        tokio::select! {
            message = timeout(self.idle_max, message) => {
                message.unwrap_or(Err(ServiceError::UploadStalled { idle_s }))
            }
            () = self.cut.cancelled() => Err(ServiceError::ShuttingDown),
        }
    }
}

/// A finished upload.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// The file.
    pub record: FileRecord,
    /// Whether the same upload had been finished before.
    pub replayed: bool,
}

impl FileService {
    /// Takes a place among the uploads that may run at once; more of them are OVERLOADED.
    pub fn admit_upload(&self) -> Result<UploadSlot> {
        if self.cut.is_cancelled() {
            return Err(ServiceError::ShuttingDown);
        }
        let permit = Arc::clone(&self.upload_slots).try_acquire_owned();
        Ok(UploadSlot {
            _permit: permit.map_err(|_| ServiceError::Overloaded)?,
            cut: self.cut.clone(),
            idle_max: self.policy.uploads.idle_max,
        })
    }

    /// Uploads one file, or the rest of one. It runs in a task of its own, so that it cleans up after itself even
    /// when the caller goes away.
    pub async fn upload(
        self: &Arc<Self>,
        slot: UploadSlot,
        request: UploadRequest,
        parts: UploadParts,
    ) -> Result<Uploaded> {
        let service = Arc::clone(self);
        let task = async move {
            let uploaded = service.run_upload(request, parts).await;
            drop(slot);
            uploaded
        };
        self.uploads.spawn(task.in_current_span()).await?
    }

    async fn run_upload(&self, request: UploadRequest, parts: UploadParts) -> Result<Uploaded> {
        let tied = !request.spec.references.is_empty();
        let (record, replayed) = match self.begin(&request).await? {
            Beginning::Attempt(attempt) => (attempt.run(parts).await?, false),
            Beginning::Finished(record) => return Ok(Uploaded { record: *record, replayed: true }),
            Beginning::Whole(ticket, content) => {
                (self.repository.publish(&ticket, content).await?, true)
            }
        };
        let record = self.after_references(record, tied).await?;
        Ok(Uploaded { record, replayed })
    }

    /// A file that was to live for references alone, all of which went while it was uploaded, goes with them.
    async fn after_references(&self, record: FileRecord, tied: bool) -> Result<FileRecord> {
        let file = &record.file;
        if !tied || !file.delete_when_unreferenced || !file.references.is_empty() {
            return Ok(record);
        }
        let grace = self.policy.grace.of(&file.purpose);
        let deletion = Deletion { grace, ..Deletion::default() };
        match self.repository.delete(&file.id, deletion).await {
            Ok(deleted) => Ok(deleted.unwrap_or(record)),
            // Somebody else's by now: it lives on for them.
            Err(MetadataError::Referenced) => Ok(record),
            Err(error) => Err(error.into()),
        }
    }
}
