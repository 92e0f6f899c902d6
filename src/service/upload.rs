//! Bringing a file in: intend, write, commit, publish, in this order (`docs/architecture.md` says what each
//! crash leaves behind).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{FileService, Result, ServiceError, leave_to_sweeper, pieces::Pieces};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    error::ErrorCode,
    file::{Content, FileSpec, id::FileId, usage::Quota},
    metadata::{Deletion, FileRecord, Intended, Intent, MetadataError, Orphan, UploadTicket},
    storage::BlobWriter,
    upload::{Upload, UploadError},
};

use super::pieces::Piece;
pub use super::pieces::{UploadPart, UploadParts};

/// Up to this size, hashing takes less time than handing the bytes to another thread.
const HASH_INLINE_BYTES_MAX: usize = 64 * 1024;

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

    /// Uploads one file. It runs in a task of its own, so that it cleans up after itself even when the
    /// caller goes away.
    pub async fn upload(
        self: &Arc<Self>,
        slot: UploadSlot,
        spec: FileSpec,
        parts: UploadParts,
    ) -> Result<Uploaded> {
        let service = Arc::clone(self);
        let task = async move {
            let uploaded = service.run_upload(spec, parts).await;
            drop(slot);
            uploaded
        };
        self.uploads.spawn(task.in_current_span()).await?
    }

    async fn run_upload(&self, spec: FileSpec, parts: UploadParts) -> Result<Uploaded> {
        let bytes_max = self.policy.file_bytes_max(spec.purpose.as_str());
        let upload = Upload::begin(&spec, bytes_max)?;
        let intent = Intent {
            file_id: FileId::random()?,
            blob_key: BlobKey::random()?,
            lease: self.policy.uploads.lease(),
            quota: self.policy.quotas.of(&spec.user_id),
            spec,
        };
        let (quota, tied) = (intent.quota, !intent.spec.references.is_empty());
        let ticket = match self.repository.intend(intent).await? {
            Intended::Begun(ticket) => ticket,
            Intended::Finished(record) => {
                return Ok(Uploaded { record: *record, replayed: true });
            }
        };
        let received = self.receive(&ticket, quota, upload, parts).await;
        if let Err(error) = &received {
            self.clean_up(&ticket, error).await;
        }
        let record = self.after_references(received?, tied).await?;
        Ok(Uploaded { record, replayed: false })
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

    /// What follows the intent, in the order that a crash may cut anywhere.
    async fn receive(
        &self,
        ticket: &UploadTicket,
        quota: Quota,
        upload: Upload,
        parts: UploadParts,
    ) -> Result<FileRecord> {
        let mut writer = self.storage.create(&ticket.blob_key).await?;
        let written = tokio::select! {
            written = self.write((ticket, quota), upload, parts, writer.as_mut()) => written,
            () = self.cut.cancelled() => Err(ServiceError::ShuttingDown),
        };
        let content = match written {
            Ok(content) => content,
            Err(refused) => {
                // What abort leaves behind, the clean-up or the sweeper removes by the record.
                let _ = writer.abort().await;
                return Err(refused);
            }
        };
        if let Err(error) = writer.commit().await {
            // A writer whose bytes were swept from under it has lost the upload, not the storage.
            self.renew(ticket).await?;
            return Err(error.into());
        }
        Ok(self.repository.publish(ticket, content).await?)
    }

    async fn write(
        &self,
        (ticket, quota): (&UploadTicket, Quota),
        mut upload: Upload,
        parts: UploadParts,
        writer: &mut dyn BlobWriter,
    ) -> Result<Content> {
        let budget = Arc::clone(&self.upload_bytes);
        let mut pieces = Pieces::new(parts, budget, self.policy.uploads.idle_max);
        let mut renew_at = self.renewal_time();
        let mut reserved_bytes = ticket.reserved_bytes;
        loop {
            let piece = pieces.next().await?;
            if self.clock.now() >= renew_at {
                self.renew(ticket).await?;
                renew_at = self.renewal_time();
            }
            let chunks = match piece {
                Piece::Data(chunks) => chunks,
                Piece::Finish(sha256) => return Ok(upload.seal(sha256)?),
            };
            let accepted;
            (upload, accepted) = accept(upload, chunks).await?;
            if upload.size_bytes() > reserved_bytes {
                let needed = upload.size_bytes();
                reserved_bytes = self.repository.reserve(ticket, needed, quota).await?;
            }
            writer.write(accepted).await?;
        }
    }

    async fn renew(&self, ticket: &UploadTicket) -> Result<()> {
        let lease = self.policy.uploads.lease();
        Ok(self.repository.renew(ticket, lease).await?)
    }

    /// When a lease renewed now wants renewing again: early enough that what is left of it outlasts the
    /// longest silence and a slow last sync of the disk.
    fn renewal_time(&self) -> Timestamp {
        self.clock.now().plus(self.policy.uploads.lease() / 4)
    }

    /// Removes what a failed upload stored. The record goes last, and only the holder of the fence may:
    /// where that fails at any point, the sweeper finds the rest by the record.
    async fn clean_up(&self, ticket: &UploadTicket, failure: &ServiceError) {
        // The key is this ticket's alone: once the ticket is lost, nobody will read what it wrote, and the
        // sweeper may have been there before the last of it.
        let lost = failure.code() == ErrorCode::UploadTakenOver;
        match self.repository.abandon(ticket).await {
            Ok(ours) if ours || lost => {
                self.discard(&Orphan { file_id: ticket.file_id, blob_key: ticket.blob_key }).await;
            }
            Ok(_) => {}
            Err(error) => leave_to_sweeper(&ticket.file_id, &error.into()),
        }
    }
}

/// Counts and hashes a piece: on a thread that may block where that takes its time.
async fn accept(upload: Upload, chunks: Vec<Bytes>) -> Result<(Upload, Vec<Bytes>)> {
    let size: usize = chunks.iter().map(Bytes::len).sum();
    let accepted = if size <= HASH_INLINE_BYTES_MAX {
        accept_all(upload, chunks)
    } else {
        spawn_blocking(move || accept_all(upload, chunks)).await?
    };
    Ok(accepted?)
}

fn accept_all(
    mut upload: Upload,
    chunks: Vec<Bytes>,
) -> std::result::Result<(Upload, Vec<Bytes>), UploadError> {
    for chunk in &chunks {
        upload.accept(chunk)?;
    }
    Ok((upload, chunks))
}
