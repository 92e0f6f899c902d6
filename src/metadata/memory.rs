//! Records in memory: the plainest reading of the promises, for tests. Gone with the process.

mod rows;
mod upkeep;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    Association, Deletion, Detached, FileRecord, FileRepository, FileUpdate, Grace, Intended,
    Intent, ListPosition, ListQuery, MetadataError, Orphan, Progress, Result, Resumption, Upkeep,
    UploadStatus, UploadTicket,
    record::{first_reservation, next_reservation, resumed_reservation},
    start_digest,
};
use crate::{
    clock::Clock,
    file::{
        Content, FileSpec,
        id::FileId,
        reference::{REFERENCES_OF_FILE_MAX, Reference},
        usage::{Quota, Usage},
        user::UserId,
    },
};
use rows::{Row, Rows, State};

/// Keeps every record in memory.
#[derive(Debug)]
pub struct MemoryRepository {
    clock: Arc<dyn Clock>,
    identity: Uuid,
    rows: Mutex<Rows>,
}

impl MemoryRepository {
    /// No records yet; times are `clock`'s.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, identity: Uuid::new_v4(), rows: Mutex::default() }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl FileRepository for MemoryRepository {
    async fn intend(&self, intent: Intent) -> Result<Intended> {
        let start = start_digest(&intent.spec);
        let now = self.clock.now();
        let mut rows = self.rows();
        if let Some(earlier) = rows.earlier(&intent, &start, now)? {
            return Ok(earlier);
        }
        let reserve = |held| first_reservation(&intent, held);
        let reserved_bytes = rows.within_quota(&intent.spec.user_id, now, reserve)?;
        let ticket = UploadTicket {
            file_id: intent.file_id,
            blob_key: intent.blob_key,
            fence: 1,
            reserved_bytes,
        };
        let lease_until = now.plus(intent.lease);
        rows.insert(ticket, intent.spec, start, lease_until);
        Ok(Intended::Begun(ticket))
    }

    async fn reserve(&self, ticket: &UploadTicket, needed_bytes: u64, quota: Quota) -> Result<u64> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let row = rows.pending(ticket)?;
        let (user_id, own) = (row.spec.user_id.clone(), row.reserved_bytes);
        let more = |held| next_reservation(quota, held, own, needed_bytes);
        let granted = rows.within_quota(&user_id, now, more)?;
        rows.pending(ticket)?.reserved_bytes = granted;
        Ok(granted)
    }

    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Result<()> {
        self.rows().pending(ticket)?.lease_until = self.clock.now().plus(lease);
        Ok(())
    }

    async fn publish(&self, ticket: &UploadTicket, content: Content) -> Result<FileRecord> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let row = rows.pending(ticket)?;
        row.publish(ticket.file_id, content, now);
        row.record().ok_or(MetadataError::UploadTakenOver)
    }

    async fn abandon(&self, ticket: &UploadTicket) -> Result<bool> {
        match self.rows().pending(ticket) {
            Ok(row) => row.doom(),
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    async fn save(&self, ticket: &UploadTicket, progress: Progress, lease: Duration) -> Result<()> {
        let mut rows = self.rows();
        let row = rows.pending(ticket)?;
        if row.persisted_size_bytes() > progress.persisted_size_bytes {
            return Err(MetadataError::UploadTakenOver);
        }
        row.progress = Some(progress);
        row.lease_until = self.clock.now().plus(lease);
        Ok(())
    }

    async fn seal(&self, ticket: &UploadTicket, content: Content) -> Result<()> {
        self.rows().pending(ticket)?.sealed = Some(content);
        Ok(())
    }

    async fn holds(&self, ticket: &UploadTicket) -> Result<bool> {
        Ok(self.rows().pending(ticket).is_ok())
    }

    async fn find_upload(
        &self,
        user_id: &UserId,
        upload_id: &Uuid,
    ) -> Result<Option<UploadStatus>> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let Some((_, row)) = rows.live_upload(user_id, upload_id) else {
            return Ok(rows.was_deleted(user_id, upload_id).then_some(UploadStatus::Deleted));
        };
        let (record, persisted_size_bytes) = (row.record(), row.persisted_size_bytes());
        Ok(Some(UploadStatus::of(record, persisted_size_bytes, row.lease_until, now)))
    }

    async fn cancel(&self, user_id: &UserId, upload_id: &Uuid) -> Result<Option<Orphan>> {
        let mut rows = self.rows();
        let pending = rows
            .live_upload(user_id, upload_id)
            .filter(|(_, row)| matches!(row.state, State::Pending));
        Ok(pending.map(|(file_id, row)| {
            row.doom();
            Orphan { file_id, blob_key: row.blob_key }
        }))
    }

    async fn find(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>> {
        Ok(self.rows().record(file_id).map(Arc::new))
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<FileRecord>> {
        let now = self.clock.now();
        let place = |position: ListPosition| (position.create_time, position.file_id);
        let mut records = self.rows().records();
        records.retain(|record| query.selects(record, now));
        records.sort_by_key(|record| std::cmp::Reverse(place((&record.file).into())));
        if let Some(after) = query.after {
            records.retain(|record| place((&record.file).into()) < place(after));
        }
        records.truncate(query.limit);
        Ok(records)
    }

    async fn update(&self, file_id: &FileId, update: FileUpdate) -> Result<Option<FileRecord>> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let Some(row) = rows.visible(file_id, now) else {
            return Ok(None);
        };
        if let Some(record) = row.record() {
            record.check_etag(update.etag.as_deref())?;
        }
        if let State::Live(file) = &mut row.state {
            update.apply(file, now);
        }
        Ok(row.record())
    }

    async fn delete(&self, file_id: &FileId, deletion: Deletion) -> Result<Option<FileRecord>> {
        let now = self.clock.now();
        let for_good = deletion.grace.is_zero();
        let mut rows = self.rows();
        let found = rows.record(file_id).filter(|record| record.can_be_deleted(&deletion, now));
        let (Some(record), Some(row)) = (found, rows.row(file_id)) else {
            return Ok(None);
        };
        record.check_deletion(&deletion)?;
        row.delete(deletion.grace, now);
        let deleted = row.record();
        if for_good {
            row.doom();
        }
        Ok(deleted)
    }

    async fn undelete(&self, file_id: &FileId) -> Result<Option<FileRecord>> {
        let now = self.clock.now();
        let mut rows = self.rows();
        match rows.record(file_id) {
            Some(record) if record.is_visible(now) => return Err(MetadataError::NotDeleted),
            Some(record) if record.is_recoverable(now) => {}
            _ => return Ok(None),
        }
        // The upload_id may be another upload's by now.
        let spec = rows.row(file_id).map(|row| row.spec.clone());
        let taken = spec.is_some_and(|FileSpec { user_id, upload_id, .. }| {
            upload_id.is_some_and(|upload_id| rows.live_upload(&user_id, &upload_id).is_some())
        });
        Ok(rows.row(file_id).and_then(|row| {
            row.undelete(now);
            if taken {
                row.spec.upload_id = None;
            }
            row.record()
        }))
    }

    async fn attach(&self, association: Association) -> Result<()> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let files = rows.associated(&association, now)?;
        for (file_id, references) in &files {
            let new = !references.contains(&association.reference);
            if new && references.len() >= REFERENCES_OF_FILE_MAX {
                return Err(MetadataError::ReferencesFull(*file_id));
            }
        }
        for (file_id, _) in files {
            rows.attach(&file_id, &association.reference, now);
        }
        Ok(())
    }

    async fn detach(&self, association: Association, grace: Arc<Grace>) -> Result<Detached> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let files = rows.associated(&association, now)?;
        let tied = files
            .into_iter()
            .filter(|(_, references)| references.contains(&association.reference))
            .map(|(file_id, _)| file_id)
            .collect();
        Ok(rows.detach(tied, &association.reference, &grace, now))
    }

    async fn delete_reference(
        &self,
        owner: Option<&UserId>,
        reference: &Reference,
        grace: Arc<Grace>,
        limit: usize,
    ) -> Result<Detached> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let tied = rows.tied(owner, reference, limit);
        let (seen, hidden): (Vec<_>, Vec<_>) =
            tied.into_iter().partition(|file_id| rows.visible(file_id, now).is_some());
        for file_id in &hidden {
            rows.untie_hidden(file_id, reference, now);
        }
        Ok(Detached { hidden, ..rows.detach(seen, reference, &grace, now) })
    }

    async fn usage(&self, user_id: &UserId) -> Result<Usage> {
        Ok(self.rows().stored(user_id, self.clock.now()))
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
