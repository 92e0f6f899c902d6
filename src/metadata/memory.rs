//! Records in memory: the plainest reading of the promises, for tests. Gone with the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    FileRecord, FileRepository, Intended, Intent, ListPosition, ListQuery, MetadataError, Orphan,
    Result, UploadTicket, start_digest,
};
use crate::{
    blob::BlobKey,
    clock::{Clock, Timestamp},
    file::{Content, File, FileSpec, Sha256Digest, id::FileId},
};

/// Keeps every record in memory.
#[derive(Debug)]
pub struct MemoryRepository {
    clock: Arc<dyn Clock>,
    rows: Mutex<BTreeMap<FileId, Row>>,
}

#[derive(Debug)]
struct Row {
    state: State,
    spec: FileSpec,
    start: Sha256Digest,
    blob_key: BlobKey,
    fence: u64,
    lease_until: Timestamp,
}

#[derive(Debug)]
enum State {
    Pending,
    Active(Box<File>),
    Doomed,
}

impl Row {
    fn record(&self) -> Option<FileRecord> {
        match &self.state {
            State::Active(file) => {
                Some(FileRecord { file: File::clone(file), blob_key: self.blob_key })
            }
            State::Pending | State::Doomed => None,
        }
    }

    fn is_held_by(&self, ticket: &UploadTicket) -> bool {
        matches!(self.state, State::Pending) && self.fence == ticket.fence
    }
}

impl MemoryRepository {
    /// No records yet; times are `clock`'s.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, rows: Mutex::default() }
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<FileId, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pending record that `ticket` still holds.
fn held<'a>(rows: &'a mut BTreeMap<FileId, Row>, ticket: &UploadTicket) -> Result<&'a mut Row> {
    rows.get_mut(&ticket.file_id)
        .filter(|row| row.is_held_by(ticket))
        .ok_or(MetadataError::UploadTakenOver)
}

fn published(row: &Row, file_id: FileId, content: Content, now: Timestamp) -> File {
    let spec = row.spec.clone();
    File {
        id: file_id,
        user_id: spec.user_id,
        purpose: spec.purpose,
        name: spec.name,
        media_type: spec.media_type,
        content,
        create_time: now,
        update_time: now,
        expire_time: spec.ttl.map(|ttl| now.plus(ttl)),
        labels: spec.labels,
        revision: 1,
        link_epoch: 0,
    }
}

#[async_trait]
impl FileRepository for MemoryRepository {
    async fn intend(&self, intent: Intent) -> Result<Intended> {
        let start = start_digest(&intent.spec);
        let now = self.clock.now();
        let lease_until = now.plus(intent.lease);
        let mut rows = self.rows();
        let same_upload = rows.values_mut().find(|row| {
            intent.spec.upload_id.is_some()
                && row.spec.upload_id == intent.spec.upload_id
                && row.spec.user_id == intent.spec.user_id
                && !matches!(row.state, State::Doomed)
        });
        if let Some(row) = same_upload {
            // An expired file is none: its upload_id is free again.
            let visible = row.record().filter(|record| record.is_visible(now));
            let expired = row.record().is_some() && visible.is_none();
            if !expired && row.start != start {
                return Err(MetadataError::UploadConflict);
            }
            if let Some(record) = visible {
                return Ok(Intended::Finished(Box::new(record)));
            }
            row.state = State::Doomed;
        }
        let row = Row {
            state: State::Pending,
            spec: intent.spec,
            start,
            blob_key: intent.blob_key,
            fence: 1,
            lease_until,
        };
        rows.insert(intent.file_id, row);
        Ok(Intended::Begun(UploadTicket {
            file_id: intent.file_id,
            blob_key: intent.blob_key,
            fence: 1,
        }))
    }

    async fn renew(&self, ticket: &UploadTicket, lease: Duration) -> Result<()> {
        held(&mut self.rows(), ticket)?.lease_until = self.clock.now().plus(lease);
        Ok(())
    }

    async fn publish(&self, ticket: &UploadTicket, content: Content) -> Result<FileRecord> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let row = held(&mut rows, ticket)?;
        let file = published(row, ticket.file_id, content, now);
        row.state = State::Active(Box::new(file));
        row.record().ok_or(MetadataError::UploadTakenOver)
    }

    async fn abandon(&self, ticket: &UploadTicket) -> Result<bool> {
        match held(&mut self.rows(), ticket) {
            Ok(row) => row.state = State::Doomed,
            Err(_) => return Ok(false),
        }
        Ok(true)
    }

    async fn find(&self, file_id: &FileId) -> Result<Option<Arc<FileRecord>>> {
        Ok(self.rows().get(file_id).and_then(Row::record).map(Arc::new))
    }

    async fn list(&self, query: &ListQuery) -> Result<Vec<FileRecord>> {
        let now = self.clock.now();
        let rows = self.rows();
        let mut records: Vec<_> = rows
            .values()
            .filter_map(Row::record)
            .filter(|record| record.file.user_id == query.user_id && record.is_visible(now))
            .collect();
        let place = |position: ListPosition| (position.create_time, position.file_id);
        records.sort_by_key(|record| std::cmp::Reverse(place((&record.file).into())));
        if let Some(after) = query.after {
            records.retain(|record| place((&record.file).into()) < place(after));
        }
        records.truncate(query.limit);
        Ok(records)
    }

    async fn raise_link_epoch(&self, file_id: &FileId) -> Result<Option<FileRecord>> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(file_id) else {
            return Ok(None);
        };
        if let State::Active(file) = &mut row.state {
            file.link_epoch += 1;
            file.revision += 1;
            file.update_time = now;
        }
        Ok(row.record())
    }

    async fn retire(&self, file_id: &FileId, etag: Option<&str>) -> Result<Option<FileRecord>> {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(file_id) else {
            return Ok(None);
        };
        let record = row.record();
        if let Some(record) = &record {
            if etag.is_some_and(|etag| etag != record.file.etag()) {
                return Err(MetadataError::EtagMismatch);
            }
            row.state = State::Doomed;
        }
        Ok(record)
    }

    async fn claim_orphans(&self, limit: usize) -> Result<Vec<Orphan>> {
        let now = self.clock.now();
        let mut rows = self.rows();
        let orphaned = |row: &Row| match row.state {
            State::Active(_) => row.record().is_some_and(|record| !record.is_visible(now)),
            State::Doomed => true,
            State::Pending => row.lease_until < now,
        };
        let claimed = rows.iter_mut().filter(|(_, row)| orphaned(row)).take(limit);
        Ok(claimed
            .map(|(file_id, row)| {
                row.state = State::Doomed;
                row.fence += 1;
                Orphan { file_id: *file_id, blob_key: row.blob_key }
            })
            .collect())
    }

    async fn forget(&self, file_id: &FileId) -> Result<()> {
        let mut rows = self.rows();
        if rows.get(file_id).is_some_and(|row| matches!(row.state, State::Doomed)) {
            rows.remove(file_id);
        }
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
