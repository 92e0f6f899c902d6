//! From an intent to a published file, and what an owner's quota has to say to it.

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    Job,
    rows::{self, micros, unsigned},
    statements,
};
use crate::{
    blob::BlobKey,
    clock::Timestamp,
    file::{
        Content, Sha256Digest,
        id::FileId,
        name,
        usage::{Quota, Usage},
        user::UserId,
    },
    metadata::{
        FileRecord, Intended, Intent, MetadataError, Orphan, Progress, Resumption, UploadStatus,
        UploadTicket,
        known::KnownUpload,
        listing::top_level_of,
        record::{first_reservation, next_reservation, resumed_reservation},
    },
};

pub(super) fn intend(
    connection: &Connection,
    intent: &Intent,
    start: &Sha256Digest,
    now: Timestamp,
) -> Job<Intended> {
    match earlier(connection, intent, start, now)? {
        Ok(None) if intent.offset > 0 => return Ok(Err(MetadataError::nothing_persisted())),
        Ok(None) => {}
        Ok(Some(earlier)) => return Ok(Ok(earlier)),
        Err(refused) => return Ok(Err(refused)),
    }
    let reserve = |held| first_reservation(intent, held);
    let user_id = &intent.spec.user_id;
    let reserved_bytes = match within_quota(connection, user_id, intent.quota, now, reserve)? {
        Ok(reserved_bytes) => reserved_bytes,
        Err(refused) => return Ok(Err(refused)),
    };
    let ticket = UploadTicket {
        file_id: intent.file_id,
        blob_key: intent.blob_key,
        fence: 1,
        reserved_bytes,
    };
    insert(connection, intent, &ticket, start, now)?;
    Ok(Ok(Intended::Begun(ticket)))
}

/// What became of the same upload before: its file, where it was finished. Unfinished, it is taken over where
/// something of it is durable, and given up otherwise.
fn earlier(
    connection: &Connection,
    intent: &Intent,
    start: &Sha256Digest,
    now: Timestamp,
) -> Job<Option<Intended>> {
    let spec = &intent.spec;
    let Some(upload_id) = &spec.upload_id else {
        return Ok(Ok(None));
    };
    match find(connection, &spec.user_id, upload_id)? {
        None => {}
        // An expired file is none: its upload_id is free again.
        Some(upload) if upload.is_over(now) && intent.offset > 0 => {}
        Some(upload) if upload.is_over(now) => {
            connection.prepare_cached(statements::PURGE)?.execute([upload.file_id.to_string()])?;
        }
        Some(upload) if upload.start != *start => return Ok(Err(MetadataError::UploadConflict)),
        Some(KnownUpload { record: Some(record), .. }) => {
            return Ok(Ok(Some(Intended::Finished(Box::new(record)))));
        }
        Some(KnownUpload { progress: Some(progress), sealed, file_id, blob_key, .. }) => {
            if let Err(refused) = progress.check_offset(intent.offset) {
                return Ok(Err(refused));
            }
            let ticket = take_over(connection, intent, file_id, blob_key, now)?;
            let resumption = Resumption { ticket, progress, sealed };
            return Ok(Ok(Some(Intended::Resumed(Box::new(resumption)))));
        }
        Some(_) if intent.offset > 0 => {}
        Some(pending) => {
            connection.prepare_cached(statements::ABORT)?.execute([pending.file_id.to_string()])?;
        }
    }
    Ok(Ok(None))
}

/// The unfinished upload is the intent's from now on.
fn take_over(
    connection: &Connection,
    intent: &Intent,
    file_id: FileId,
    blob_key: BlobKey,
    now: Timestamp,
) -> rusqlite::Result<UploadTicket> {
    let until = now.plus(intent.lease).unix_us();
    let read = |row: &rusqlite::Row<'_>| {
        let (fence, reserved) = (unsigned(row, 0)?, unsigned(row, 1)?);
        let reserved_bytes = resumed_reservation(intent.quota, reserved);
        Ok(UploadTicket { file_id, blob_key, fence, reserved_bytes })
    };
    connection
        .prepare_cached(statements::TAKE_OVER)?
        .query_row(params![file_id.to_string(), until], read)
}

/// The live upload of an owner by upload_id.
pub(super) fn find(
    connection: &Connection,
    user_id: &UserId,
    upload_id: &Uuid,
) -> rusqlite::Result<Option<KnownUpload>> {
    connection
        .prepare_cached(statements::find_upload())?
        .query_row(params![user_id.as_str(), upload_id.as_bytes()], rows::read_upload)
        .optional()
}

/// What is told of it, or of a file that it has become and that is deleted.
pub(super) fn status(
    connection: &Connection,
    user_id: &UserId,
    upload_id: &Uuid,
    now: Timestamp,
) -> rusqlite::Result<Option<UploadStatus>> {
    if let Some(upload) = find(connection, user_id, upload_id)? {
        return Ok(Some(upload.into_status(now)));
    }
    let was_deleted = connection
        .prepare_cached(statements::WAS_DELETED)?
        .exists(params![user_id.as_str(), upload_id.as_bytes()])?;
    Ok(was_deleted.then_some(UploadStatus::Deleted))
}

fn insert(
    connection: &Connection,
    intent: &Intent,
    ticket: &UploadTicket,
    start: &Sha256Digest,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let spec = &intent.spec;
    let file_id = ticket.file_id.to_string();
    connection.prepare_cached(statements::INSERT)?.execute(params![
        file_id,
        spec.user_id.as_str(),
        spec.purpose.as_str(),
        spec.name.as_str(),
        spec.media_type.as_str(),
        rows::labels_text(&spec.labels)?,
        ticket.blob_key.as_bytes(),
        now.unix_us(),
        spec.ttl.map(micros),
        spec.upload_id.map(uuid::Uuid::into_bytes),
        start,
        now.plus(intent.lease).unix_us(),
        name::folded(spec.name.as_str()),
        top_level_of(spec.media_type.as_str()),
        spec.delete_when_unreferenced,
        ticket.set_aside(spec.size_bytes),
    ])?;
    for reference in &spec.references {
        connection.prepare_cached(statements::ATTACH)?.execute(params![
            file_id,
            reference.kind().number(),
            reference.id(),
            spec.user_id.as_str(),
            0
        ])?;
    }
    Ok(())
}

/// Grants what `grant` says of what an owner holds. Where it refuses, files that nobody will see again are
/// left out first.
fn within_quota(
    connection: &Connection,
    user_id: &UserId,
    quota: Quota,
    now: Timestamp,
    grant: impl Fn(Usage) -> Result<u64, MetadataError>,
) -> Job<u64> {
    if quota.is_unlimited() {
        return Ok(grant(Usage::default()));
    }
    if let Ok(granted) = grant(held_by(connection, user_id)?) {
        return Ok(Ok(granted));
    }
    let mut purge = connection.prepare_cached(statements::PURGE_OVER)?;
    purge.execute(params![user_id.as_str(), now.unix_us()])?;
    Ok(grant(held_by(connection, user_id)?))
}

fn held_by(connection: &Connection, user_id: &UserId) -> rusqlite::Result<Usage> {
    usage(connection, statements::HELD, params![user_id.as_str()])
}

pub(super) fn stored(
    connection: &Connection,
    user_id: &UserId,
    now: Timestamp,
) -> rusqlite::Result<Usage> {
    usage(connection, statements::STORED, params![user_id.as_str(), now.unix_us()])
}

pub(super) fn usage(
    connection: &Connection,
    statement: &str,
    params: &[&dyn rusqlite::ToSql],
) -> rusqlite::Result<Usage> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Usage { file_count: unsigned(row, 0)?, stored_bytes: unsigned(row, 1)? })
    };
    let found = connection.prepare_cached(statement)?.query_row(params, read).optional()?;
    Ok(found.unwrap_or_default())
}

pub(super) fn reserve(
    connection: &Connection,
    ticket: &UploadTicket,
    needed_bytes: u64,
    quota: Quota,
    now: Timestamp,
) -> Job<u64> {
    let file_id = ticket.file_id.to_string();
    let read = |row: &rusqlite::Row<'_>| Ok((UserId::stored(row.get(0)?), unsigned(row, 1)?));
    let found = connection
        .prepare_cached(statements::RESERVATION)?
        .query_row(params![file_id, ticket.fence as i64], read)
        .optional()?;
    let Some((user_id, own)) = found else {
        return Ok(Err(MetadataError::UploadTakenOver));
    };
    let more = |held| next_reservation(quota, held, own, needed_bytes);
    let granted = match within_quota(connection, &user_id, quota, now, more)? {
        Ok(granted) => granted,
        Err(refused) => return Ok(Err(refused)),
    };
    connection
        .prepare_cached(statements::RESERVE)?
        .execute(params![file_id, i64::try_from(granted).unwrap_or(i64::MAX)])?;
    Ok(Ok(granted))
}

pub(super) fn renew(connection: &Connection, ticket: &UploadTicket, until: Timestamp) -> Job<()> {
    let renewed = connection.prepare_cached(statements::RENEW)?.execute(params![
        ticket.file_id.to_string(),
        ticket.fence as i64,
        until.unix_us()
    ])?;
    Ok(held(renewed))
}

pub(super) fn save(
    connection: &Connection,
    ticket: &UploadTicket,
    progress: &Progress,
    until: Timestamp,
) -> Job<()> {
    let saved = connection.prepare_cached(statements::SAVE)?.execute(params![
        ticket.file_id.to_string(),
        ticket.fence as i64,
        progress.persisted_size_bytes as i64,
        progress.state,
        until.unix_us()
    ])?;
    Ok(held(saved))
}

pub(super) fn seal(connection: &Connection, ticket: &UploadTicket, content: Content) -> Job<()> {
    let sealed = connection.prepare_cached(statements::SEAL)?.execute(params![
        ticket.file_id.to_string(),
        ticket.fence as i64,
        content.size_bytes as i64,
        content.sha256
    ])?;
    Ok(held(sealed))
}

pub(super) fn holds(connection: &Connection, ticket: &UploadTicket) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(statements::HOLDS)?
        .exists(params![ticket.file_id.to_string(), ticket.fence as i64])
}

pub(super) fn cancel(
    connection: &Connection,
    user_id: &UserId,
    upload_id: &Uuid,
) -> Job<Option<Orphan>> {
    let cancelled = connection
        .prepare_cached(statements::CANCEL)?
        .query_row(params![user_id.as_str(), upload_id.as_bytes()], rows::read_orphan)
        .optional()?;
    Ok(Ok(cancelled))
}

/// What a change came to that only the holder of the fence can make.
fn held(changed: usize) -> Result<(), MetadataError> {
    if changed == 1 { Ok(()) } else { Err(MetadataError::UploadTakenOver) }
}

pub(super) fn publish(
    connection: &Connection,
    ticket: &UploadTicket,
    content: Content,
    now: Timestamp,
) -> Job<FileRecord> {
    let file_id = ticket.file_id.to_string();
    let published = connection.prepare_cached(statements::PUBLISH)?.execute(params![
        file_id,
        ticket.fence as i64,
        now.unix_us(),
        content.size_bytes as i64,
        content.sha256
    ])?;
    if published != 1 {
        return Ok(Err(MetadataError::UploadTakenOver));
    }
    let Some(record) = super::find(connection, &ticket.file_id)? else {
        return Ok(Err(MetadataError::UploadTakenOver));
    };
    super::changes::label(connection, &record.file)?;
    if !record.file.references.is_empty() {
        connection
            .prepare_cached(statements::DATE_REFERENCES)?
            .execute(params![file_id, now.unix_us()])?;
    }
    Ok(Ok(record))
}

pub(super) fn abandon(connection: &Connection, ticket: &UploadTicket) -> Job<bool> {
    let abandoned = connection
        .prepare_cached(statements::ABANDON)?
        .execute(params![ticket.file_id.to_string(), ticket.fence as i64])?;
    Ok(Ok(abandoned == 1))
}
