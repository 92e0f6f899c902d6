//! Changes of one file: updating, deleting, undeleting.

use sqlx::PgConnection;

use super::{
    find, find_visible,
    rows::{labels_text, texts},
    statements,
    transaction::{Attempt, Job},
};
use crate::{
    clock::Timestamp,
    file::{File, id::FileId, name},
    metadata::{Deletion, FileRecord, FileUpdate, MetadataError, Result, record::mark_deleted},
};

type Answer = Result<Option<FileRecord>>;

/// Whether the record is the very one that an earlier run has made.
fn is_settled(found: Option<&FileRecord>, doubted: Option<&Answer>) -> bool {
    matches!(doubted, Some(Ok(Some(made))) if found == Some(made))
}

pub(super) async fn update(
    attempt: Attempt<'_, Answer>,
    (file_id, update, now): &(FileId, FileUpdate, Timestamp),
) -> Job<Option<FileRecord>> {
    let connection = attempt.connection;
    lock_file(connection, file_id, statements::LOCK_FILES).await?;
    let found = find_visible(connection, file_id, *now).await?;
    if is_settled(found.as_ref(), attempt.doubted) {
        return Ok(Ok(found));
    }
    let Some(mut record) = found else {
        return Ok(Ok(None));
    };
    if let Err(stale) = record.check_etag(update.etag.as_deref()) {
        return Ok(Err(stale));
    }
    update.apply(&mut record.file, *now);
    store(connection, &record.file).await?;
    if update.labels.is_some() {
        for statement in [statements::UNLABEL, statements::LABEL] {
            sqlx::query(statement).bind(file_id.to_string()).execute(&mut *connection).await?;
        }
    }
    Ok(Ok(Some(record)))
}

async fn store(connection: &mut PgConnection, file: &File) -> sqlx::Result<()> {
    sqlx::query(statements::UPDATE)
        .bind(file.id.to_string())
        .bind(file.name.as_str())
        .bind(name::folded(file.name.as_str()))
        .bind(labels_text(&file.labels)?)
        .bind(file.expire_time.map(Timestamp::unix_us))
        .bind(i64::from(file.delete_when_unreferenced))
        .bind(file.link_epoch as i64)
        .bind(file.revision as i64)
        .bind(file.update_time.unix_us())
        .execute(connection)
        .await?;
    Ok(())
}

pub(super) async fn delete(
    attempt: Attempt<'_, Answer>,
    (file_id, deletion, now): &(FileId, Deletion, Timestamp),
) -> Job<Option<FileRecord>> {
    let connection = attempt.connection;
    let (now, for_good) = (*now, deletion.grace.is_zero());
    lock_file(connection, file_id, statements::LOCK_WITH_OWNERS).await?;
    let found = find(connection, file_id).await?;
    if let Some(Ok(Some(made))) = attempt.doubted
        && (found.as_ref() == Some(made)
            || (for_good && is_purged(connection, file_id, now).await?))
    {
        return Ok(Ok(Some(made.clone())));
    }
    let Some(mut record) = found.filter(|record| record.can_be_deleted(deletion, now)) else {
        return Ok(Ok(None));
    };
    if let Err(refused) = record.check_deletion(deletion) {
        return Ok(Err(refused));
    }
    mark_deleted(&mut record.file, deletion.grace, now);
    remove(connection, std::slice::from_ref(&record.file), now).await?;
    Ok(Ok(Some(record)))
}

async fn is_purged(
    connection: &mut PgConnection,
    file_id: &FileId,
    now: Timestamp,
) -> sqlx::Result<bool> {
    let purged = sqlx::query_scalar(statements::PURGED);
    purged.bind(file_id.to_string()).bind(now.unix_us()).fetch_one(connection).await
}

/// Moves files that are marked as deleted at `now` out of sight: for good where their time ends at once.
pub(super) async fn remove(
    connection: &mut PgConnection,
    files: &[File],
    now: Timestamp,
) -> sqlx::Result<()> {
    let (gone, kept): (Vec<&File>, Vec<&File>) =
        files.iter().partition(|file| file.purge_time == Some(now));
    if !gone.is_empty() {
        sqlx::query(statements::PURGE)
            .bind(texts(gone.into_iter().map(|file| &file.id)))
            .bind(now.unix_us())
            .execute(&mut *connection)
            .await?;
    }
    if !kept.is_empty() {
        let purge_times: Vec<Option<i64>> =
            kept.iter().map(|file| file.purge_time.map(Timestamp::unix_us)).collect();
        sqlx::query(statements::DELETE)
            .bind(texts(kept.into_iter().map(|file| &file.id)))
            .bind(purge_times)
            .bind(now.unix_us())
            .execute(connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn undelete(
    attempt: Attempt<'_, Answer>,
    (file_id, now): &(FileId, Timestamp),
) -> Job<Option<FileRecord>> {
    let connection = attempt.connection;
    lock_file(connection, file_id, statements::LOCK_WITH_OWNERS).await?;
    let found = find(connection, file_id).await?;
    if is_settled(found.as_ref(), attempt.doubted) {
        return Ok(Ok(found));
    }
    match found {
        Some(record) if record.is_visible(*now) => return Ok(Err(MetadataError::NotDeleted)),
        Some(record) if record.is_recoverable(*now) => {}
        _ => return Ok(Ok(None)),
    }
    sqlx::query(statements::UNDELETE)
        .bind(file_id.to_string())
        .bind(now.unix_us())
        .execute(&mut *connection)
        .await?;
    Ok(Ok(find(connection, file_id).await?))
}

async fn lock_file(
    connection: &mut PgConnection,
    file_id: &FileId,
    lock: &'static str,
) -> sqlx::Result<()> {
    sqlx::query(lock).bind(texts([file_id])).execute(connection).await?;
    Ok(())
}
