//! Where an upload begins: anew, where what is durable of it ends, or at its end.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    UploadRequest,
    attempt::Attempt,
    keeper::{Account, Keeper},
    running::UploadKey,
};
use crate::{
    blob::BlobKey,
    file::{Content, FileSpec, id::FileId},
    metadata::{FileRecord, Intended, Intent, MetadataError, Orphan, Resumption, UploadTicket},
    service::{FileService, Result},
    storage::{BlobWriter, StorageError},
    upload::Upload,
};

/// How long a writer that has lost the upload may take to let go of its blob, and how often that is looked for.
const HELD_MAX: Duration = Duration::from_secs(10);
const HELD_POLL: Duration = Duration::from_millis(50);

/// How an upload goes on.
pub(super) enum Beginning<'s> {
    /// By receiving what is left of it.
    Attempt(Box<Attempt<'s>>),
    /// It has become a file before.
    Finished(Box<FileRecord>),
    /// All of it is there, and only its record is to be published.
    Whole(UploadTicket, Content),
}

/// What an unfinished upload has left.
enum TakenUp {
    Whole(Content),
    Unfinished(Box<Upload>, Box<dyn BlobWriter>),
    Gone,
}

fn upload_key(spec: &FileSpec) -> Option<UploadKey> {
    spec.upload_id.map(|upload_id| (spec.user_id.clone(), upload_id))
}

impl FileService {
    /// Begins an upload, or finds out where it is to go on.
    pub(super) async fn begin(&self, request: &UploadRequest) -> Result<Beginning<'_>> {
        let bytes_max = self.bytes_max(&request.spec, Some(request.bytes_max));
        let upload = Upload::begin(&request.spec, bytes_max)?;
        loop {
            let resumption = match self.repository.intend(self.intent(request)?).await? {
                Intended::Finished(record) => return Ok(Beginning::Finished(record)),
                Intended::Begun(ticket) => {
                    let attempt = self.begin_anew(request, ticket, upload).await?;
                    return Ok(Beginning::Attempt(Box::new(attempt)));
                }
                Intended::Resumed(resumption) => *resumption,
            };
            let ticket = resumption.ticket;
            // Whoever is at it in this process lets go of it at once.
            let place = upload_key(&request.spec).map(|key| self.running.enter(key, &ticket));
            match self.take_up(resumption, request, bytes_max).await? {
                TakenUp::Whole(content) => return Ok(Beginning::Whole(ticket, content)),
                TakenUp::Unfinished(mut upload, writer) => {
                    upload.repeat_from(request.offset);
                    let attempt = Attempt {
                        shared: place.map(|it| (self.keeper(ticket, upload.size_bytes()), it)),
                        ..self.attempt(request, ticket, *upload, writer)
                    };
                    return Ok(Beginning::Attempt(Box::new(attempt)));
                }
                TakenUp::Gone => self.give_up(&ticket).await?,
            }
        }
    }

    fn intent(&self, request: &UploadRequest) -> Result<Intent> {
        Ok(Intent {
            file_id: FileId::random()?,
            blob_key: BlobKey::random()?,
            spec: request.spec.clone(),
            lease: self.policy.uploads.lease(),
            quota: self.policy.quotas.of(&request.spec.user_id),
            offset: request.offset,
        })
    }

    async fn begin_anew(
        &self,
        request: &UploadRequest,
        ticket: UploadTicket,
        upload: Upload,
    ) -> Result<Attempt<'_>> {
        let writer = match self.storage.create(&ticket.blob_key).await {
            Ok(writer) => writer,
            Err(error) => {
                let error = error.into();
                self.clean_up(&ticket, &error).await;
                return Err(error);
            }
        };
        let shared = upload_key(&request.spec)
            .map(|key| (self.keeper(ticket, 0), self.running.enter(key, &ticket)));
        Ok(Attempt { shared, ..self.attempt(request, ticket, upload, writer) })
    }

    fn attempt(
        &self,
        request: &UploadRequest,
        ticket: UploadTicket,
        mut upload: Upload,
        writer: Box<dyn BlobWriter>,
    ) -> Attempt<'_> {
        if let (Some(grain), Some(_)) = (writer.checkpoint_grain(), request.spec.upload_id) {
            upload.keep_states(grain);
        }
        let quota = self.policy.quotas.of(&request.spec.user_id);
        let upload = Some(upload);
        Attempt { service: self, ticket, quota, writer, upload, shared: None }
    }

    fn keeper(&self, ticket: UploadTicket, saved_bytes: u64) -> Keeper {
        let limits = self.policy.uploads;
        Keeper::new(Arc::clone(&self.repository), ticket, limits, saved_bytes)
    }

    /// Goes on where an earlier attempt has left the upload, once that one has let go of it.
    async fn take_up(
        &self,
        resumption: Resumption,
        request: &UploadRequest,
        bytes_max: u64,
    ) -> Result<TakenUp> {
        let Resumption { ticket, progress, sealed } = resumption;
        let Some(Account { upload, blob }) = Account::read(&progress) else {
            return Ok(TakenUp::Gone);
        };
        let Some(upload) = Upload::resume(&request.spec, bytes_max, &upload)? else {
            return Ok(TakenUp::Gone);
        };
        let give_up_at = Instant::now() + HELD_MAX;
        loop {
            let resumed = self.storage.resume(&ticket.blob_key, &blob).await;
            // While it was waited for, others may have gone further with it than is known here.
            if !self.repository.holds(&ticket).await? {
                return Err(MetadataError::UploadTakenOver.into());
            }
            match resumed {
                Ok(writer) => return Ok(TakenUp::Unfinished(Box::new(upload), writer)),
                Err(StorageError::Held(_)) if Instant::now() < give_up_at => sleep(HELD_POLL).await,
                // Committed, perhaps: then there is nothing unfinished any more.
                Err(StorageError::Missing(_)) => break,
                Err(error) => return Err(error.into()),
            }
        }
        match (sealed, self.storage.size(&ticket.blob_key).await) {
            (Some(content), Ok(size_bytes)) if size_bytes == content.size_bytes => {
                Ok(TakenUp::Whole(content))
            }
            (_, Ok(_) | Err(StorageError::Missing(_))) => Ok(TakenUp::Gone),
            (_, Err(error)) => Err(error.into()),
        }
    }

    /// Ends an upload of which nothing that was durable is there.
    async fn give_up(&self, ticket: &UploadTicket) -> Result<()> {
        tracing::warn!(file_id = %ticket.file_id, "what was durable of an upload is gone");
        if self.repository.abandon(ticket).await? {
            let orphan = Orphan { file_id: ticket.file_id, blob_key: ticket.blob_key };
            self.discard(&orphan).await;
        }
        Ok(())
    }
}
