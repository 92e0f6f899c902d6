//! The rows, and the moves between their states.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use super::{
    Association, Detached, FileRecord, Grace, Intended, Intent, MetadataError, Progress, Result,
    Resumption, UploadTicket, resumed_reservation,
};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{
        Content, File, FileSpec, Sha256Digest,
        id::FileId,
        reference::{Reference, References},
        usage::Usage,
        user::UserId,
    },
    metadata::record::{mark_deleted, touch},
};

#[derive(Debug)]
pub(super) struct Row {
    pub(super) state: State,
    pub(super) spec: FileSpec,
    pub(super) start: Sha256Digest,
    pub(super) blob_key: BlobKey,
    pub(super) fence: u64,
    pub(super) lease_until: Timestamp,
    pub(super) reserved_bytes: u64,
    pub(super) verified: Timestamp,
    pub(super) quarantined: bool,
    pub(super) progress: Option<Progress>,
    pub(super) sealed: Option<Content>,
}

#[derive(Debug)]
pub(super) enum State {
    Pending,
    /// Finished; soft-deleted where it has a delete time.
    Live(Box<File>),
    Doomed,
}

impl Row {
    fn is_upload(&self, user_id: &UserId, upload_id: &Uuid) -> bool {
        self.spec.upload_id == Some(*upload_id) && self.spec.user_id == *user_id
    }

    pub(super) fn persisted_size_bytes(&self) -> u64 {
        self.progress.as_ref().map_or(0, |progress| progress.persisted_size_bytes)
    }

    pub(super) fn record(&self) -> Option<FileRecord> {
        let State::Live(file) = &self.state else {
            return None;
        };
        let quarantined = self.quarantined;
        Some(FileRecord { file: File::clone(file), blob_key: self.blob_key, quarantined })
    }

    pub(super) fn doom(&mut self) {
        self.state = State::Doomed;
        self.fence += 1;
        self.lease_until = Timestamp::from_unix_us(0);
    }

    fn take_over(&mut self, file_id: FileId, intent: &Intent, now: Timestamp) -> UploadTicket {
        self.fence += 1;
        self.lease_until = self.lease_until.max(now.plus(intent.lease));
        let reserved_bytes = resumed_reservation(intent.quota, self.reserved_bytes);
        UploadTicket { file_id, blob_key: self.blob_key, fence: self.fence, reserved_bytes }
    }

    pub(super) fn publish(&mut self, file_id: FileId, content: Content, now: Timestamp) {
        let spec = self.spec.clone();
        self.verified = now;
        self.state = State::Live(Box::new(File {
            id: file_id,
            user_id: spec.user_id,
            purpose: spec.purpose,
            name: spec.name,
            media_type: spec.media_type,
            content,
            create_time: now,
            update_time: now,
            expire_time: spec.ttl.map(|ttl| now.plus(ttl)),
            delete_time: None,
            purge_time: None,
            labels: spec.labels,
            references: spec.references,
            delete_when_unreferenced: spec.delete_when_unreferenced,
            revision: 1,
            link_epoch: 0,
        }));
    }

    pub(super) fn delete(&mut self, grace: Duration, now: Timestamp) {
        if let State::Live(file) = &mut self.state {
            mark_deleted(file, grace, now);
        }
    }

    pub(super) fn undelete(&mut self, now: Timestamp) {
        if let State::Live(file) = &mut self.state {
            file.delete_time = None;
            file.purge_time = None;
            touch(file, now);
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Rows(pub(super) BTreeMap<FileId, Row>);

impl Rows {
    pub(super) fn insert(
        &mut self,
        ticket: UploadTicket,
        spec: FileSpec,
        start: Sha256Digest,
        lease_until: Timestamp,
    ) {
        let reserved_bytes = ticket.set_aside(spec.size_bytes).unsigned_abs();
        let row = Row {
            state: State::Pending,
            spec,
            start,
            blob_key: ticket.blob_key,
            fence: ticket.fence,
            lease_until,
            reserved_bytes,
            verified: Timestamp::from_unix_us(0),
            quarantined: false,
            progress: None,
            sealed: None,
        };
        self.0.insert(ticket.file_id, row);
    }

    /// What became of the same upload before: its file, where it was finished. Unfinished, it is taken over where
    /// something of it is durable, and given up otherwise.
    pub(super) fn earlier(
        &mut self,
        intent: &Intent,
        start: &Sha256Digest,
        now: Timestamp,
    ) -> Result<Option<Intended>> {
        let nothing = |offset| match offset {
            0 => Ok(None),
            _ => Err(MetadataError::nothing_persisted()),
        };
        let spec = &intent.spec;
        let found = spec.upload_id.and_then(|id| self.live_upload(&spec.user_id, &id));
        let Some((file_id, row)) = found else {
            return nothing(intent.offset);
        };
        let current = row.record().filter(|record| record.is_kept(now));
        if matches!(row.state, State::Pending) || current.is_some() {
            if row.start != *start {
                return Err(MetadataError::UploadConflict);
            }
            if let Some(record) = current {
                return Ok(Some(Intended::Finished(Box::new(record))));
            }
            if let Some(progress) = row.progress.clone() {
                progress.check_offset(intent.offset)?;
                let ticket = row.take_over(file_id, intent, now);
                let resumption = Resumption { ticket, progress, sealed: row.sealed };
                return Ok(Some(Intended::Resumed(Box::new(resumption))));
            }
        }
        nothing(intent.offset)?;
        row.doom();
        Ok(None)
    }

    pub(super) fn row(&mut self, file_id: &FileId) -> Option<&mut Row> {
        self.0.get_mut(file_id)
    }

    pub(super) fn record(&self, file_id: &FileId) -> Option<FileRecord> {
        self.0.get(file_id).and_then(Row::record)
    }

    pub(super) fn records(&self) -> Vec<FileRecord> {
        self.0.values().filter_map(Row::record).collect()
    }

    /// The pending record that `ticket` still holds.
    pub(super) fn pending(&mut self, ticket: &UploadTicket) -> Result<&mut Row> {
        self.row(&ticket.file_id)
            .filter(|row| matches!(row.state, State::Pending) && row.fence == ticket.fence)
            .ok_or(MetadataError::UploadTakenOver)
    }

    pub(super) fn visible(&mut self, file_id: &FileId, now: Timestamp) -> Option<&mut Row> {
        self.row(file_id).filter(|row| row.record().is_some_and(|it| it.is_visible(now)))
    }

    /// Whether an upload has become a file that is deleted and still kept.
    pub(super) fn was_deleted(&self, user_id: &UserId, upload_id: &Uuid) -> bool {
        self.0.values().any(|row| {
            let is_deleted = matches!(&row.state, State::Live(file) if file.delete_time.is_some());
            is_deleted && row.is_upload(user_id, upload_id)
        })
    }

    /// The unfinished or finished upload with the same owner and upload_id; a soft-deleted one is none.
    pub(super) fn live_upload(
        &mut self,
        user_id: &UserId,
        upload_id: &Uuid,
    ) -> Option<(FileId, &mut Row)> {
        let found = self.0.iter_mut().find(|(_, row)| {
            let live = match &row.state {
                State::Pending => true,
                State::Live(file) => file.delete_time.is_none(),
                State::Doomed => false,
            };
            live && row.is_upload(user_id, upload_id)
        });
        found.map(|(file_id, row)| (*file_id, row))
    }

    /// What a user stores.
    pub(super) fn stored(&self, user_id: &UserId, now: Timestamp) -> Usage {
        let mut usage = Usage::default();
        for row in self.0.values().filter(|row| row.spec.user_id == *user_id) {
            if let Some(record) = row.record().filter(|record| record.is_kept(now)) {
                usage.file_count += 1;
                usage.stored_bytes += record.file.content.size_bytes;
            }
        }
        usage
    }

    /// Grants what `grant` says of what an owner holds. Where it refuses, files that nobody will see again
    /// are left out first.
    pub(super) fn within_quota(
        &mut self,
        user_id: &UserId,
        now: Timestamp,
        grant: impl Fn(Usage) -> Result<u64>,
    ) -> Result<u64> {
        if let Ok(granted) = grant(self.held(user_id)) {
            return Ok(granted);
        }
        for row in self.0.values_mut().filter(|row| row.spec.user_id == *user_id) {
            if row.record().is_some_and(|record| !record.is_kept(now)) {
                row.doom();
            }
        }
        grant(self.held(user_id))
    }

    /// What a user stores, visible or not, and has under way.
    fn held(&self, user_id: &UserId) -> Usage {
        let mut held = Usage::default();
        for row in self.0.values().filter(|row| row.spec.user_id == *user_id) {
            let bytes = match &row.state {
                State::Pending => row.reserved_bytes,
                State::Live(file) => file.content.size_bytes,
                State::Doomed => continue,
            };
            held.file_count += 1;
            held.stored_bytes += bytes;
        }
        held
    }

    /// The files of an association with their references; an error where one of them is not there.
    pub(super) fn associated(
        &self,
        association: &Association,
        now: Timestamp,
    ) -> Result<Vec<(FileId, References)>> {
        let find = |file_id: &FileId| {
            let found = self.record(file_id).filter(|record| record.is_visible(now));
            found
                .filter(|record| {
                    association.owner.as_ref().is_none_or(|it| *it == record.file.user_id)
                })
                .map(|record| (*file_id, record.file.references))
                .ok_or(MetadataError::Missing(*file_id))
        };
        association.file_ids.iter().map(find).collect()
    }

    pub(super) fn attach(&mut self, file_id: &FileId, reference: &Reference, now: Timestamp) {
        if let Some(State::Live(file)) = self.row(file_id).map(|row| &mut row.state)
            && file.references.insert(reference.clone())
        {
            touch(file, now);
        }
    }

    pub(super) fn detach(
        &mut self,
        tied: Vec<FileId>,
        reference: &Reference,
        grace: &Grace,
        now: Timestamp,
    ) -> Detached {
        let mut detached = Detached::default();
        for file_id in tied {
            let Some(row) = self.row(&file_id) else { continue };
            let State::Live(file) = &mut row.state else { continue };
            if !file.references.remove(reference) {
                continue;
            }
            touch(file, now);
            detached.detached.push(file_id);
            if file.delete_when_unreferenced && file.references.is_empty() {
                let grace = grace.of(&file.purpose);
                row.delete(grace, now);
                if grace.is_zero() {
                    row.doom();
                }
                detached.deleted.push(file_id);
            }
        }
        detached
    }

    /// Files with a reference, in whatever state, in the order of their ids.
    pub(super) fn tied(
        &self,
        owner: Option<&UserId>,
        reference: &Reference,
        limit: usize,
    ) -> Vec<FileId> {
        let mine = |row: &Row| owner.is_none_or(|owner| row.spec.user_id == *owner);
        let has = |row: &Row| match &row.state {
            State::Pending => row.spec.references.contains(reference),
            State::Live(file) => file.references.contains(reference),
            State::Doomed => false,
        };
        let tied = self.0.iter().filter(|(_, row)| mine(row) && has(row));
        tied.map(|(file_id, _)| *file_id).take(limit).collect()
    }

    /// Takes a reference from a file that nobody sees.
    pub(super) fn untie_hidden(&mut self, file_id: &FileId, reference: &Reference, now: Timestamp) {
        let Some(row) = self.row(file_id) else { return };
        match &mut row.state {
            State::Pending => drop(row.spec.references.remove(reference)),
            State::Live(file) => {
                file.references.remove(reference);
                if file.delete_time.is_some() {
                    touch(file, now);
                }
            }
            State::Doomed => {}
        }
    }
}
