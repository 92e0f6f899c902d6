//! Changes of one file: updating, deleting, undeleting.

use rusqlite::{Connection, params};

use super::{Job, find, find_visible, rows, statements};
use crate::{
    clock::Timestamp,
    file::{File, id::FileId, name},
    metadata::{Deletion, FileRecord, FileUpdate, MetadataError, record::mark_deleted},
};

pub(super) fn update(
    connection: &Connection,
    file_id: &FileId,
    update: &FileUpdate,
    now: Timestamp,
) -> Job<Option<FileRecord>> {
    let Some(mut record) = find_visible(connection, file_id, now)? else {
        return Ok(Ok(None));
    };
    if let Err(stale) = record.check_etag(update.etag.as_deref()) {
        return Ok(Err(stale));
    }
    let file = &mut record.file;
    update.apply(file, now);
    connection.prepare_cached(statements::UPDATE)?.execute(params![
        file_id.to_string(),
        file.name.as_str(),
        name::folded(file.name.as_str()),
        rows::labels_text(&file.labels)?,
        file.expire_time.map(Timestamp::unix_us),
        file.delete_when_unreferenced,
        file.link_epoch as i64,
        file.revision as i64,
        now.unix_us()
    ])?;
    if update.labels.is_some() {
        connection.prepare_cached(statements::UNLABEL)?.execute([file_id.to_string()])?;
        label(connection, file)?;
    }
    Ok(Ok(Some(record)))
}

/// Adds a file's labels to those that files are found by.
pub(super) fn label(connection: &Connection, file: &File) -> rusqlite::Result<()> {
    for (key, value) in file.labels.as_map() {
        connection.prepare_cached(statements::LABEL)?.execute(params![
            file.id.to_string(),
            key,
            value,
            file.user_id.as_str(),
            file.create_time.unix_us()
        ])?;
    }
    Ok(())
}

pub(super) fn delete(
    connection: &Connection,
    file_id: &FileId,
    deletion: &Deletion,
    now: Timestamp,
) -> Job<Option<FileRecord>> {
    let found = find(connection, file_id)?.filter(|record| record.can_be_deleted(deletion, now));
    let Some(mut record) = found else {
        return Ok(Ok(None));
    };
    if let Err(refused) = record.check_deletion(deletion) {
        return Ok(Err(refused));
    }
    mark_deleted(&mut record.file, deletion.grace, now);
    remove(connection, &record.file, deletion.grace.is_zero())?;
    Ok(Ok(Some(record)))
}

/// Moves a file that is marked as deleted out of sight.
pub(super) fn remove(connection: &Connection, file: &File, for_good: bool) -> rusqlite::Result<()> {
    let file_id = file.id.to_string();
    if for_good {
        connection.prepare_cached(statements::PURGE)?.execute([file_id])?;
        return Ok(());
    }
    connection.prepare_cached(statements::DELETE)?.execute(params![
        file_id,
        file.delete_time.map(Timestamp::unix_us),
        file.purge_time.map(Timestamp::unix_us)
    ])?;
    Ok(())
}

pub(super) fn undelete(
    connection: &Connection,
    file_id: &FileId,
    now: Timestamp,
) -> Job<Option<FileRecord>> {
    match find(connection, file_id)? {
        Some(record) if record.is_visible(now) => return Ok(Err(MetadataError::NotDeleted)),
        Some(record) if record.is_recoverable(now) => {}
        _ => return Ok(Ok(None)),
    }
    connection
        .prepare_cached(statements::UNDELETE)?
        .execute(params![file_id.to_string(), now.unix_us()])?;
    Ok(Ok(find(connection, file_id)?))
}
