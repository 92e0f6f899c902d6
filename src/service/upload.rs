//! Bringing a file in: intend, write, commit, publish, in this order (`docs/architecture.md` says what each
//! crash leaves behind).

use std::sync::Arc;

use bytes::Bytes;
use tokio::{sync::OwnedSemaphorePermit, task::spawn_blocking};
use tracing::Instrument;

use super::{FileService, Result, ServiceError, pieces::Pieces};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{Content, FileSpec, id::FileId},
    metadata::{FileRecord, Intended, Intent, UploadTicket},
    storage::BlobWriter,
    upload::{Upload, UploadError},
};

use super::pieces::Piece;
pub use super::pieces::{UploadPart, UploadParts};

/// Up to this size, hashing takes less time than handing the bytes to another thread.
const HASH_INLINE_BYTES_MAX: usize = 64 * 1024;

/// A finished upload.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// The file.
    pub record: FileRecord,
    /// Whether the same upload had been finished before.
    pub replayed: bool,
}

impl FileService {
    /// Uploads one file. It runs in a task of its own, so that it cleans up after itself even when the
    /// caller goes away.
    pub async fn upload(self: &Arc<Self>, spec: FileSpec, parts: UploadParts) -> Result<Uploaded> {
        if self.cut.is_cancelled() {
            return Err(ServiceError::ShuttingDown);
        }
        let slot = Arc::clone(&self.upload_slots)
            .try_acquire_owned()
            .map_err(|_| ServiceError::Overloaded)?;
        let service = Arc::clone(self);
        let task = async move { service.run_upload(spec, parts, slot).await };
        self.uploads.spawn(task.in_current_span()).await?
    }

    async fn run_upload(
        &self,
        spec: FileSpec,
        parts: UploadParts,
        _slot: OwnedSemaphorePermit,
    ) -> Result<Uploaded> {
        let bytes_max = self.policy.file_bytes_max(spec.purpose.as_str());
        let upload = Upload::begin(&spec, bytes_max)?;
        let intent = Intent {
            file_id: FileId::random()?,
            blob_key: BlobKey::random()?,
            spec,
            lease: self.policy.uploads.lease(),
        };
        let ticket = match self.repository.intend(intent).await? {
            Intended::Begun(ticket) => ticket,
            Intended::Finished(record) => {
                return Ok(Uploaded { record: *record, replayed: true });
            }
        };
        let received = self.receive(&ticket, upload, parts).await;
        if received.is_err() {
            self.clean_up(&ticket).await;
        }
        Ok(Uploaded { record: received?, replayed: false })
    }

    /// What follows the intent, in the order that a crash may cut anywhere.
    async fn receive(
        &self,
        ticket: &UploadTicket,
        upload: Upload,
        parts: UploadParts,
    ) -> Result<FileRecord> {
        let mut writer = self.storage.create(&ticket.blob_key).await?;
        let written = tokio::select! {
            written = self.write(ticket, upload, parts, writer.as_mut()) => written,
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
        writer.commit().await?;
        Ok(self.repository.publish(ticket, content).await?)
    }

    async fn write(
        &self,
        ticket: &UploadTicket,
        mut upload: Upload,
        parts: UploadParts,
        writer: &mut dyn BlobWriter,
    ) -> Result<Content> {
        let budget = Arc::clone(&self.upload_bytes);
        let mut pieces = Pieces::new(parts, budget, self.policy.uploads.idle_max);
        let lease = self.policy.uploads.lease();
        let mut renew_at = self.clock.now().plus(lease / 2);
        loop {
            let chunks = match pieces.next().await? {
                Piece::Data(chunks) => chunks,
                Piece::Finish(sha256) => return Ok(upload.seal(sha256)?),
            };
            if self.clock.now() >= renew_at {
                renew_at = self.renew(ticket).await?;
            }
            let accepted;
            (upload, accepted) = accept(upload, chunks).await?;
            writer.write(accepted).await?;
        }
    }

    async fn renew(&self, ticket: &UploadTicket) -> Result<Timestamp> {
        let lease = self.policy.uploads.lease();
        self.repository.renew(ticket, lease).await?;
        Ok(self.clock.now().plus(lease / 2))
    }

    /// Removes what a failed upload stored. The record goes last, and only the holder of the fence may:
    /// where that fails at any point, the sweeper finds the rest by the record.
    async fn clean_up(&self, ticket: &UploadTicket) {
        let cleaned = async {
            if self.repository.abandon(ticket).await? {
                self.storage.delete(&ticket.blob_key).await?;
                self.repository.forget(&ticket.file_id).await?;
            }
            Ok::<(), ServiceError>(())
        };
        if let Err(error) = cleaned.await {
            tracing::warn!(file_id = %ticket.file_id, %error, "left to the sweeper");
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
