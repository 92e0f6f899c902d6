//! Uploads under way, and what an owner's quota has to say to them.

use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{
    intend::without,
    rows::{read_orphan, read_upload, read_usage, unsigned},
    statements,
    transaction::{Attempt, Job},
};
use crate::{
    clock::Timestamp,
    file::{
        Content,
        usage::{Quota, Usage},
        user::UserId,
    },
    metadata::{
        MetadataError, Orphan, Progress, Result, UploadStatus, UploadTicket, known::KnownUpload,
        record::next_reservation,
    },
};

/// An upload that needs more room.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) ticket: UploadTicket,
    pub(super) needed_bytes: u64,
    pub(super) quota: Quota,
    pub(super) now: Timestamp,
}

pub(super) async fn reserve(
    attempt: Attempt<'_, Result<u64>>,
    reservation: &Reservation,
) -> Job<u64> {
    let connection = attempt.connection;
    let ticket = &reservation.ticket;
    let held = lock_owner(connection, ticket).await?;
    let found = sqlx::query(statements::RESERVATION)
        .bind(ticket.file_id.to_string())
        .bind(ticket.fence as i64)
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = found else {
        return Ok(Err(MetadataError::UploadTakenOver));
    };
    let (user_id, own) = (UserId::stored(row.try_get(0)?), unsigned(&row, 1)?);
    if let Some(Ok(granted)) = attempt.doubted
        && *granted == own
    {
        return Ok(Ok(own));
    }
    let Reservation { needed_bytes, quota, now, .. } = *reservation;
    let mut granted = next_reservation(quota, held, own, needed_bytes);
    if granted.is_err() {
        let freed = purge_over(connection, &user_id, now).await?;
        granted = next_reservation(quota, without(held, freed), own, needed_bytes);
    }
    let granted = match granted {
        Ok(granted) => granted,
        Err(refused) => return Ok(Err(refused)),
    };
    sqlx::query(statements::RESERVE)
        .bind(ticket.file_id.to_string())
        .bind(i64::try_from(granted).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    Ok(Ok(granted))
}

/// What the upload's owner stores and has under way, which stays so until the transaction ends.
async fn lock_owner(connection: &mut PgConnection, ticket: &UploadTicket) -> sqlx::Result<Usage> {
    let row = sqlx::query(statements::LOCK_OWNER)
        .bind(ticket.file_id.to_string())
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(Usage::default()), |row| read_usage(&row, 0))
}

/// Leaves out what a user, whose usage is locked, will never see again; says how much that was.
pub(super) async fn purge_over(
    connection: &mut PgConnection,
    user_id: &UserId,
    now: Timestamp,
) -> sqlx::Result<Usage> {
    let rows = sqlx::query(statements::PURGE_OVER)
        .bind(user_id.as_str())
        .bind(now.unix_us())
        .fetch_all(connection)
        .await?;
    let mut freed = Usage::default();
    for row in &rows {
        freed.file_count += 1;
        freed.stored_bytes += unsigned(row, 0)?;
    }
    Ok(freed)
}

pub(super) async fn renew(
    connection: &mut PgConnection,
    ticket: &UploadTicket,
    until: Timestamp,
) -> sqlx::Result<bool> {
    let renewed = sqlx::query(statements::RENEW)
        .bind(ticket.file_id.to_string())
        .bind(ticket.fence as i64)
        .bind(until.unix_us())
        .execute(connection)
        .await?;
    Ok(renewed.rows_affected() == 1)
}

/// How much of an upload is durable, and until when it is to be kept.
pub(super) type Saving = (UploadTicket, Progress, Timestamp);

pub(super) async fn save(
    connection: &mut PgConnection,
    (ticket, progress, until): &Saving,
) -> sqlx::Result<bool> {
    let saved = sqlx::query(statements::SAVE)
        .bind(ticket.file_id.to_string())
        .bind(ticket.fence as i64)
        .bind(progress.persisted_size_bytes as i64)
        .bind(&progress.state)
        .bind(until.unix_us())
        .execute(connection)
        .await?;
    Ok(saved.rows_affected() == 1)
}

pub(super) async fn seal(
    connection: &mut PgConnection,
    (ticket, content): &(UploadTicket, Content),
) -> sqlx::Result<bool> {
    let sealed = sqlx::query(statements::SEAL)
        .bind(ticket.file_id.to_string())
        .bind(ticket.fence as i64)
        .bind(content.size_bytes as i64)
        .bind(content.sha256)
        .execute(connection)
        .await?;
    Ok(sealed.rows_affected() == 1)
}

pub(super) async fn holds(
    connection: &mut PgConnection,
    ticket: &UploadTicket,
) -> sqlx::Result<bool> {
    let holds = sqlx::query_scalar(statements::HOLDS);
    holds.bind(ticket.file_id.to_string()).bind(ticket.fence as i64).fetch_one(connection).await
}

/// An owner and an upload_id.
pub(super) type UploadKey = (UserId, Uuid);

pub(super) async fn find(
    connection: &mut PgConnection,
    (user_id, upload_id): &UploadKey,
) -> sqlx::Result<Option<KnownUpload>> {
    let found = sqlx::query(statements::find_uploads())
        .bind([user_id.as_str()].as_slice())
        .bind([upload_id.as_bytes().as_slice()].as_slice())
        .fetch_optional(connection)
        .await?;
    found.as_ref().map(read_upload).transpose()
}

/// What is told of it, or of a file that it has become and that is deleted.
pub(super) async fn status(
    connection: &mut PgConnection,
    (key, now): &(UploadKey, Timestamp),
) -> sqlx::Result<Option<UploadStatus>> {
    if let Some(upload) = find(connection, key).await? {
        return Ok(Some(upload.into_status(*now)));
    }
    let was_deleted: bool = sqlx::query_scalar(statements::WAS_DELETED)
        .bind(key.0.as_str())
        .bind(key.1.as_bytes().as_slice())
        .fetch_one(connection)
        .await?;
    Ok(was_deleted.then_some(UploadStatus::Deleted))
}

pub(super) async fn cancel(
    attempt: Attempt<'_, Result<Option<Orphan>>>,
    (user_id, upload_id): &UploadKey,
) -> Job<Option<Orphan>> {
    let connection = attempt.connection;
    sqlx::query(statements::LOCK_USER).bind(user_id.as_str()).execute(&mut *connection).await?;
    let cancelled = sqlx::query(statements::CANCEL)
        .bind(user_id.as_str())
        .bind(upload_id.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    let cancelled = cancelled.as_ref().map(read_orphan).transpose()?;
    // One that is no longer there was cancelled by the run that is in doubt.
    Ok(Ok(cancelled.or(match attempt.doubted {
        Some(Ok(doubted)) => *doubted,
        _ => None,
    })))
}

pub(super) async fn abandon(
    attempt: Attempt<'_, Result<bool>>,
    ticket: &UploadTicket,
) -> Job<bool> {
    let connection = attempt.connection;
    lock_owner(connection, ticket).await?;
    let (file_id, fence) = (ticket.file_id.to_string(), ticket.fence as i64);
    let abandoned = sqlx::query(statements::ABANDON)
        .bind(&file_id)
        .bind(fence)
        .execute(&mut *connection)
        .await?;
    if abandoned.rows_affected() == 1 {
        return Ok(Ok(true));
    }
    match attempt.doubted {
        Some(Ok(true)) => {
            let abandoned = sqlx::query_scalar(statements::ABANDONED).bind(file_id).bind(fence);
            Ok(Ok(abandoned.fetch_one(connection).await?))
        }
        _ => Ok(Ok(false)),
    }
}

pub(super) async fn stored(
    connection: &mut PgConnection,
    user_id: &UserId,
    now: Timestamp,
) -> sqlx::Result<Usage> {
    let row = sqlx::query(statements::STORED)
        .bind(user_id.as_str())
        .bind(now.unix_us())
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(Usage::default()), |row| read_usage(&row, 0))
}
