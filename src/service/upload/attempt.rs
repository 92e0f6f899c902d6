//! One attempt to bring a file in, in the order that a crash may cut anywhere: write, note what the content is,
//! commit, publish. What fails, it leaves to be gone on with, or removes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    pin,
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    keeper::Keeper,
    pieces::{Piece, Pieces, UploadParts},
    running::Place,
};
use crate::{
    clock::Timestamp,
    error::{ErrorCode, chain},
    file::{Content, usage::Quota},
    metadata::{FileRecord, MetadataError, Orphan, UploadTicket},
    service::{FileService, Result, ServiceError, leave_to_sweeper},
    storage::BlobWriter,
    upload::{Upload, UploadError},
};

/// Up to this size, hashing takes less time than handing the bytes to another thread.
const HASH_INLINE_BYTES_MAX: usize = 64 * 1024;

/// How often a writer asks whether the upload is still its own: how long another replica may wait for it.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);

/// An upload that is under way.
pub(super) struct Attempt<'s> {
    pub(super) service: &'s FileService,
    pub(super) ticket: UploadTicket,
    pub(super) quota: Quota,
    pub(super) writer: Box<dyn BlobWriter>,
    /// Gone while a piece of it is hashed.
    pub(super) upload: Option<Upload>,
    /// Where another call can go on with it: who keeps account for it, and who hears of it.
    pub(super) shared: Option<(Keeper, Place)>,
}

impl Attempt<'_> {
    /// Receives the rest of the content and makes it a file.
    pub(super) async fn run(mut self, parts: UploadParts) -> Result<FileRecord> {
        match self.write(parts).await {
            Ok(content) => self.finish(content).await,
            Err(error) => Err(self.give_way(error).await),
        }
    }

    async fn write(&mut self, parts: UploadParts) -> Result<Content> {
        let limits = self.service.policy.uploads;
        let budget = Arc::clone(&self.service.upload_bytes);
        let mut pieces = Pieces::new(parts, budget, limits.idle_max);
        let mut renew_at = self.renewal_time();
        let mut confirmed_at = Instant::now();
        let mut reserved_bytes = self.ticket.reserved_bytes;
        loop {
            let place = self.shared.as_ref().map(|(_, place)| place);
            let upload = (&self.ticket, place);
            let piece = next(self.service, upload, &mut pieces, &mut confirmed_at).await?;
            if self.service.clock.now() >= renew_at {
                let lease = self.lease();
                self.service.repository.renew(&self.ticket, lease).await?;
                renew_at = self.renewal_time();
            }
            let chunks = match piece {
                Piece::Data(chunks) => chunks,
                Piece::Finish(sha256) => {
                    let upload = self.upload.take().ok_or(ServiceError::UploadNotFound)?;
                    return Ok(upload.seal(sha256)?);
                }
            };
            let upload = self.upload.take().ok_or(ServiceError::UploadNotFound)?;
            let (upload, accepted) = accept(upload, chunks).await?;
            let upload = self.upload.insert(upload);
            if accepted.is_empty() {
                continue;
            }
            if upload.size_bytes() > reserved_bytes {
                let (repository, needed) = (&self.service.repository, upload.size_bytes());
                reserved_bytes = repository.reserve(&self.ticket, needed, self.quota).await?;
            }
            self.writer.write(accepted).await?;
            if let Some((keeper, _)) = &mut self.shared {
                keeper.written(upload, self.writer.as_mut()).await?;
            }
        }
    }

    async fn finish(mut self, content: Content) -> Result<FileRecord> {
        if let Err(error) = self.note_content(content).await {
            return Err(self.give_way(error).await);
        }
        let (lease, has_account) = (self.lease(), self.has_account());
        let Self { service, ticket, writer, shared: _shared, .. } = self;
        let committed = match writer.commit().await {
            Ok(()) => Ok(()),
            // A writer whose bytes were swept from under it has lost the upload, not the storage.
            Err(error) => {
                let renewed = service.repository.renew(&ticket, lease).await;
                Err(renewed.map_or_else(ServiceError::from, |()| error.into()))
            }
        };
        let published = match committed {
            Ok(()) => service.repository.publish(&ticket, content).await.map_err(Into::into),
            Err(error) => Err(error),
        };
        if let Err(error) = &published
            && !(has_account && is_for_another_call(error.code()))
        {
            service.clean_up(&ticket, error).await;
        }
        published
    }

    /// Notes what the content is, before its blob can be there: a call that goes on then knows it again.
    async fn note_content(&mut self, content: Content) -> Result<()> {
        if let Some((keeper, _)) = &mut self.shared {
            keeper.settle().await?;
            if keeper.has_account() {
                self.service.repository.seal(&self.ticket, content).await?;
            }
        }
        Ok(())
    }

    /// Ends an attempt that failed: leaves what is durable of it to another call, or removes it.
    async fn give_way(self, error: ServiceError) -> ServiceError {
        let has_account = self.has_account();
        let Self { service, ticket, writer, upload, shared, .. } = self;
        let Some((mut keeper, _place)) = shared.filter(|_| is_for_another_call(error.code()))
        else {
            // What another call may go on with by now is removed only by who still has the upload. What abort
            // leaves behind, the clean-up or the sweeper removes by the record.
            if has_account {
                drop(writer);
            } else {
                let _ = writer.abort().await;
            }
            service.clean_up(&ticket, &error).await;
            return error;
        };
        if error.code() != ErrorCode::UploadTakenOver
            && let Some(upload) = upload
            && let Err(failed) = keeper.leave(upload, writer).await
        {
            tracing::info!(error = chain(&failed), "the last of an upload was not kept");
        }
        if !keeper.has_account() {
            service.clean_up(&ticket, &error).await;
        }
        match error {
            ServiceError::UploadIncomplete { .. } => {
                let persisted_size_bytes = keeper.saved_bytes();
                ServiceError::UploadIncomplete { persisted_size_bytes }
            }
            error => error,
        }
    }

    /// Whether another call may have something to go on from.
    fn has_account(&self) -> bool {
        self.shared.as_ref().is_some_and(|(keeper, _)| keeper.has_account())
    }

    fn lease(&self) -> Duration {
        let limits = self.service.policy.uploads;
        if self.has_account() { limits.unfinished_lease() } else { limits.lease() }
    }

    /// When a lease renewed now wants renewing again: early enough that what is left of it outlasts the
    /// longest silence and a slow last sync of the disk.
    fn renewal_time(&self) -> Timestamp {
        self.service.clock.now().plus(self.service.policy.uploads.lease() / 4)
    }
}

/// Waits for the next piece, unless the server shuts down or the upload becomes somebody else's meanwhile.
async fn next(
    service: &FileService,
    (ticket, place): (&UploadTicket, Option<&Place>),
    pieces: &mut Pieces,
    confirmed_at: &mut Instant,
) -> Result<Piece> {
    let cut = &service.cut;
    let Some(place) = place else {
        return tokio::select! {
            piece = pieces.next() => piece,
            () = cut.cancelled() => Err(ServiceError::ShuttingDown),
        };
    };
    let piece = pieces.next();
    pin!(piece);
    loop {
        if confirmed_at.elapsed() >= CONFIRM_EVERY {
            if !service.repository.holds(ticket).await? {
                return Err(MetadataError::UploadTakenOver.into());
            }
            *confirmed_at = Instant::now();
        }
        tokio::select! {
            piece = &mut piece => return piece,
            () = place.taken() => return Err(MetadataError::UploadTakenOver.into()),
            () = place.paused() => {
                return Err(ServiceError::UploadIncomplete { persisted_size_bytes: 0 });
            }
            () = cut.cancelled() => return Err(ServiceError::ShuttingDown),
            () = sleep(CONFIRM_EVERY) => {}
        }
    }
}

/// Whether an attempt that failed so can be gone on with by another call; what is refused cannot.
const fn is_for_another_call(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UploadIncomplete
            | ErrorCode::UploadStalled
            | ErrorCode::UploadTakenOver
            | ErrorCode::ShuttingDown
            | ErrorCode::StorageUnavailable
            | ErrorCode::Internal
    )
}

impl FileService {
    /// Removes what a failed upload stored. The record goes last, and only the holder of the fence may: where
    /// that fails at any point, the sweeper finds the rest by the record.
    pub(super) async fn clean_up(&self, ticket: &UploadTicket, failure: &ServiceError) {
        // The key is this ticket's alone: once the ticket is lost, nobody will read what it wrote, and the
        // sweeper may have been there before the last of it.
        let lost = failure.code() == ErrorCode::UploadTakenOver;
        match self.repository.abandon(ticket).await {
            Ok(ours) if ours || lost => {
                let orphan = Orphan { file_id: ticket.file_id, blob_key: ticket.blob_key };
                self.discard(&orphan).await;
            }
            Ok(_) => {}
            Err(error) => leave_to_sweeper(&ticket.file_id, &error.into()),
        }
    }
}

/// Counts and hashes what is new in a piece: on a thread that may block where that takes its time.
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
    mut chunks: Vec<Bytes>,
) -> std::result::Result<(Upload, Vec<Bytes>), UploadError> {
    for chunk in &mut chunks {
        upload.skip_repeated(chunk)?;
        upload.accept(chunk)?;
    }
    chunks.retain(|chunk| !chunk.is_empty());
    Ok((upload, chunks))
}
